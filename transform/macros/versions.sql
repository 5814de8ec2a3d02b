{% macro refuse_what_was_never_loaded() -%}
    {%- set ledger = source('rickandmorty', '_loads') -%}
    {%- set missing = [] -%}
    {#- A unit test has no warehouse. -#}
    {%- for table in ['_loads'] + var('entities') | list if execute and flags.WHICH in ('build', 'run') and model.resource_type == 'model' -%}
        {%- if load_relation(ledger.incorporate(path={'identifier': table})) is none -%}
            {%- do missing.append(table) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            "expected the ledger and each entity's table in " ~ ledger.schema ~ ", found no " ~ missing | join(", ")
            ~ "; load them first: make run, or meltano run tap-rickandmorty target-bigquery"
        ) }}
    {%- endif -%}
{%- endmacro %}

{% macro refuse_a_gap() -%}
    {%- set asked = execute and flags.WHICH in ('build', 'run') and model.resource_type == 'model' -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | list if asked else [] -%}
    {#- What reads no model, as the ledger's view, reads no version. The verdict alone may be asked about older findings. -#}
    {%- set left_out = models | rejectattr('unique_id', 'in', selected_resources) | selectattr('refs') | map(attribute='unique_id') | list -%}
    {%- for node in models | selectattr('unique_id', 'in', selected_resources) if node.name != 'rpt_verdict' -%}
        {%- for parent in node.depends_on.nodes if parent in left_out -%}
            {{ exceptions.raise_compiler_error(
                node.name ~ " reads " ~ graph.nodes[parent].name ~ ", which this build of new versions leaves out: expected it among what is built; "
                ~ "select it too, or +" ~ node.name ~ ", or exclude both"
            ) }}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}

{% macro build_versions(stream, newest=none) -%}
    {%- set build = ref('int_build_versions') -%}
    {%- if not execute or flags.WHICH == 'compile' -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set found = run_query(
        "SELECT table_version, run_id, landed_since, replication, is_of_newest_run, CAST(started_at AS STRING) AS started_at, load_method, is_baseline, row_count"
        ~ " FROM " ~ build ~ " WHERE entity = '" ~ stream ~ "'" ~ (" AND recency <= " ~ newest if newest else "")
        ~ " ORDER BY version_number DESC"
    ) -%}
    {%- set versions = [] -%}
    {%- for row in found.rows -%}
        {%- do versions.append(row.dict()) -%}
    {%- endfor -%}
    {{ return(versions) }}
{%- endmacro %}

{% macro of_versions(versions) -%}
    {{ in_partitions_of(versions) }}
    {%- if versions %}
        AND (_sdc_table_version, _sdc_run_id) IN (
            {%- for version in versions %}({{ version.table_version }}, {{ literal(version.run_id) }}){{ '' if loop.last else ', ' }}{% endfor -%}
        )
    {%- endif -%}
{%- endmacro %}

{% macro in_partitions_of(versions) -%}
    {%- if versions -%}
        _sdc_batched_at >= TIMESTAMP '{{ versions | map(attribute="landed_since") | min }} 00:00:00+00'
    {%- else -%}
        FALSE
    {%- endif -%}
{%- endmacro %}

{% macro newest_version(stream) -%}
    {%- set newest = build_versions(stream, 1) -%}
    {%- do refuse_a_delta(stream, newest) -%}
    {{ source('rickandmorty', stream) }} AS landing
    WHERE {{ of_versions(newest) }}
{%- endmacro %}

{% macro newest_record_of_each_key(stream, key, skipped=0) -%}
    {%- set wholes = build_versions(stream)[skipped:] | selectattr('replication', 'equalto', 'full') | list -%}
    {#- A whole version holds all there is: what it lacks was deleted at the source. -#}
    {%- set since = wholes | map(attribute='started_at') | max if wholes else '1970-01-01 00:00:00+00' -%}
    (
        SELECT *
        FROM {{ source('rickandmorty', stream) }} AS landed
        WHERE
            landed._sdc_batched_at >= TIMESTAMP '{{ since }}'
            AND (landed._sdc_table_version, landed._sdc_run_id) IN (
                SELECT (versions.table_version, versions.run_id) FROM {{ ref('int_build_versions') }} AS versions
                WHERE versions.entity = '{{ stream }}'{{ ' AND versions.recency > ' ~ skipped if skipped }}
            )
        QUALIFY
            ROW_NUMBER() OVER (
                PARTITION BY landed.`{{ key | join('`, landed.`') }}`
                ORDER BY landed._sdc_batched_at DESC, landed._sdc_sequence DESC, landed._sdc_extracted_at DESC
            ) = 1
            AND landed._sdc_deleted_at IS NULL
    ) AS landing
{%- endmacro %}

{% macro refuse_a_delta(stream, versions) -%}
    {%- for version in versions if version.replication == 'incremental' -%}
        {{ exceptions.raise_compiler_error(
            "stream " ~ stream ~ ", version " ~ version.table_version ~ ": expected a whole version (replication full), got a delta "
            ~ "(replication incremental), which holds changed records only; "
            ~ "read it with newest_record_of_each_key('" ~ stream ~ "', [key]) instead of newest_version('" ~ stream ~ "')"
        ) }}
    {%- endfor -%}
{%- endmacro %}
