{% do refuse_empty() %}
{% do refuse_a_gap() %}
{% set as_of = var('as_of', none) or env_var('DBT_AS_OF', '') %}
{% if as_of and execute and flags.WHICH != 'compile' %}
    {% do refuse_an_unknown_run(as_of) %}
{% endif %}

WITH versions AS (
    SELECT *
    FROM {{ ref('stg_rickandmorty__loads') }}
    WHERE
        table_version IS NOT NULL
        AND retracted_at IS NULL
        AND entity IN (
            {% for entity in var('entities') %}
                '{{ entity }}',
            {% endfor %}
            NULL
        )
        {% if as_of %}
            AND finished_at <= (
                SELECT MAX(loads.finished_at)
                FROM {{ ref('stg_rickandmorty__loads') }} AS loads
                WHERE loads.run_id = {{ literal(as_of) }}
            )
        {% endif %}
),

ordered AS (
    SELECT
        *,
        -- One number may be that of several loads: a tap numbers its deltas by their last full read.
        ROW_NUMBER() OVER (PARTITION BY entity ORDER BY table_version, finished_at, run_id) AS version_number
    FROM versions
),

accepted AS (
    SELECT *
    FROM UNNEST(ARRAY<STRUCT<entity STRING, accepted_until TIMESTAMP>>[
        {% for entity, until in accepted_until().items() %}
            ('{{ entity }}', TIMESTAMP '{{ until }}'){{ '' if loop.last else ',' }}
        {% endfor %}
    ])
),

dated AS (
    SELECT
        *,
        ROW_NUMBER() OVER (PARTITION BY entity ORDER BY version_number DESC) AS recency,
        MAX(started_at) OVER (
            PARTITION BY entity ORDER BY version_number ASC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS newest_start
    FROM ordered
)

SELECT
    dated.entity,
    table_version,
    version_number,
    recency,
    run_id,
    run_id = FIRST_VALUE(run_id) OVER (ORDER BY finished_at DESC, run_id ASC) AS is_of_newest_run,
    source,
    load_method,
    replication,
    proof,
    row_count,
    started_at,
    -- A version that was loaded after a newer one holds until that one, for an instant.
    TIMESTAMP_ADD(
        newest_start,
        INTERVAL ROW_NUMBER() OVER (PARTITION BY dated.entity, newest_start ORDER BY version_number ASC) - 1 MICROSECOND
    ) AS loaded_at,
    finished_at,
    -- A version that is no time in epoch milliseconds does not say in which partitions its rows are.
    IF(
        table_version BETWEEN 946684800000 AND UNIX_MILLIS(started_at) + 86400000,
        DATE_SUB(DATE(TIMESTAMP_MILLIS(table_version)), INTERVAL 1 DAY),
        DATE '1970-01-01'
    ) AS landed_since,
    -- The last to be loaded of those that a verdict has let pass; the version before where none has.
    version_number = FIRST_VALUE(version_number) OVER (
        PARTITION BY dated.entity
        ORDER BY
            IFNULL(finished_at <= accepted_until, FALSE) DESC,
            IF(finished_at <= accepted_until, finished_at, NULL) DESC,
            recency = 2 DESC
    ) AND (IFNULL(finished_at <= accepted_until, FALSE) OR recency = 2) AS is_baseline,
    accepted_until,
    '{{ invocation_id }}' AS build_id
FROM dated
LEFT JOIN accepted
    ON dated.entity = accepted.entity
