{% macro history(stream, key, records, columns, lists) -%}
    {%- set state = columns + lists -%}
    {%- set versions = build_versions(stream) | reverse | list -%}
    {%- do refuse_a_delta(stream, versions) -%}
    {%- set known = known_history(stream, records ~ state, versions) -%}

WITH versions AS (
    SELECT
        table_version,
        version_number,
        loaded_at,
        run_id
    FROM {{ ref('int_build_versions') }}
    WHERE entity = '{{ stream }}'
),

records AS (
    SELECT
        {{ records }},
        landing._sdc_sequence AS record_sequence,
        versions.version_number,
        versions.loaded_at,
        versions.run_id
    FROM {{ source('rickandmorty', stream) }} AS landing
    -- Joined, not listed: a statement has at most a megabyte, and there may be more versions than that holds.
    INNER JOIN versions
        ON landing._sdc_table_version = versions.table_version AND landing._sdc_run_id = versions.run_id
    WHERE
        {{ in_partitions_of(versions[known.version_count:]) }}
        AND versions.version_number > {{ known.version_count }}
),

observed AS (
    SELECT
        {% for column in [key] + columns %}
            {{ column }},
        {% endfor %}
        {% for column in lists %}
            TO_JSON_STRING({{ column }}) AS {{ column }},
        {% endfor %}
        version_number,
        loaded_at,
        run_id
    FROM records
    WHERE TRUE
    -- A key that a version has twice: the last of its records.
    QUALIFY ROW_NUMBER() OVER (PARTITION BY {{ key }}, version_number ORDER BY record_sequence DESC) = 1
    {% if known.version_count %}
        UNION ALL
        SELECT
            {{ ([key] + state) | join(', ') }},
            {{ known.version_count }} AS version_number,
            loaded_at,
            run_id
        FROM {{ this }}
        WHERE dbt_valid_to IS NULL
    {% endif %}
),

described AS (
    SELECT
        *,
        TO_JSON_STRING(STRUCT({{ state | join(', ') }})) AS state
    FROM observed
),

compared AS (
    SELECT
        *,
        IFNULL(
            LAG(version_number) OVER (PARTITION BY {{ key }} ORDER BY version_number) = version_number - 1
            AND LAG(state) OVER (PARTITION BY {{ key }} ORDER BY version_number) = state, FALSE
        ) AS is_as_before
    FROM described
),

numbered AS (
    SELECT
        *,
        SUM(IF(is_as_before, 0, 1)) OVER (PARTITION BY {{ key }} ORDER BY version_number) AS state_number
    FROM compared
),

periods AS (
    SELECT
        *,
        MAX(version_number) OVER (PARTITION BY {{ key }}, state_number) AS last_version_number
    FROM numbered
),

dated AS (
    SELECT
        {% for column in [key] + state %}
            periods.{{ column }},
        {% endfor %}
        periods.loaded_at,
        periods.run_id,
        after.loaded_at AS dbt_valid_to
    FROM periods
    LEFT JOIN versions AS after
        ON periods.last_version_number + 1 = after.version_number
    WHERE NOT periods.is_as_before
    {% if known.version_count %}
        UNION ALL
        SELECT
            {{ ([key] + state) | join(', ') }},
            loaded_at,
            run_id,
            dbt_valid_to
        FROM {{ this }}
        WHERE dbt_valid_to IS NOT NULL
    {% endif %}
)

SELECT
    {% for column in [key] + state %}
        {{ column }},
    {% endfor %}
    loaded_at,
    run_id,
    TO_HEX(MD5(CONCAT(CAST({{ key }} AS STRING), '|', CAST(UNIX_MICROS(loaded_at) AS STRING)))) AS dbt_scd_id,
    loaded_at AS dbt_updated_at,
    loaded_at AS dbt_valid_from,
    dbt_valid_to,
    {{ known.history_key }} AS history_key
FROM dated
{%- endmacro %}

{% macro known_history(stream, logic, versions) -%}
    {%- set kept = none -%}
    {%- if versions and not flags.FULL_REFRESH -%}
        {%- set relation = load_relation(this) -%}
        {%- if relation and 'history_key' in adapter.get_columns_in_relation(relation) | map(attribute='name') -%}
            {%- set kept = run_query("SELECT MAX(history_key) FROM " ~ relation).rows[0][0] -%}
        {%- endif -%}
    {%- endif -%}
    {%- set found = namespace(key=local_md5(logic), version_count=0) -%}
    {%- for version in versions -%}
        {%- set found.key = local_md5(found.key ~ version.table_version ~ version.run_id) -%}
        {%- if kept is not none and kept | int == found.key[:15] | int(base=16) -%}
            {%- set found.version_count = loop.index -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if kept is not none and not found.version_count -%}
        {%- do refuse_to_forget(stream, versions) -%}
    {%- endif -%}
    {{ return({'version_count': found.version_count, 'history_key': found.key[:15] | int(base=16)}) }}
{%- endmacro %}

{% macro refuse_to_forget(stream, versions) -%}
    {%- set forgotten = run_query(
        "WITH landed AS ("
        ~ "SELECT _sdc_table_version AS table_version, _sdc_run_id AS run_id, COUNT(*) AS landed_row_count"
        ~ " FROM " ~ source('rickandmorty', stream) ~ " WHERE " ~ in_partitions_of(versions) ~ " GROUP BY ALL) "
        ~ "SELECT COUNT(*), CAST(MAX(versions.loaded_at) AS STRING) FROM " ~ ref('int_build_versions') ~ " AS versions"
        ~ " LEFT JOIN landed ON versions.table_version = landed.table_version AND versions.run_id = landed.run_id"
        ~ " WHERE versions.entity = '" ~ stream ~ "' AND versions.row_count > IFNULL(landed.landed_row_count, 0)"
        ~ " AND versions.loaded_at >= (SELECT MIN(dbt_valid_from) FROM " ~ this ~ ")"
    ).rows[0] -%}
    {%- if forgotten[0] -%}
        {{ exceptions.raise_compiler_error(
            this.identifier ~ ": versions or cleaning differ from those that the history was computed from, so it has to be computed anew, but rows of "
            ~ forgotten[0] ~ " of its versions, the last of " ~ forgotten[1] ~ ", have left the landing table " ~ stream
            ~ " (landing_rows_days, or load_method overwrite or upsert): what it has of them would be lost. To accept that, build with --full-refresh; "
            ~ "else build with the versions and the cleaning of before"
        ) }}
    {%- endif -%}
{%- endmacro %}
