{% macro is_newest_version(stream) -%}
    {{ is_recent_version(stream, 1) }}
{%- endmacro %}

{% macro is_recent_version(stream, versions) -%}
    _sdc_batched_at >= {{ partition_floor(stream, versions) }}
    AND _sdc_table_version IN (
        SELECT loads.table_version
        FROM {{ ref('stg_rickandmorty__loads') }} AS loads
        WHERE loads.entity = '{{ stream }}' AND loads.recency <= {{ versions }}
    )
{%- endmacro %}

{% macro partition_floor(stream, versions) -%}
    {%- set oldest = none -%}
    {%- if execute and flags.WHICH != 'compile' -%}
        {%- set found = run_query(
            "SELECT MIN(table_version) FROM (SELECT DISTINCT table_version FROM " ~ source('rickandmorty', '_loads')
            ~ " WHERE stream = '" ~ stream ~ "' ORDER BY table_version DESC LIMIT " ~ versions ~ ")"
        ) -%}
        {%- set oldest = found.columns[0].values()[0] -%}
    {%- endif -%}
    {%- set day = modules.datetime.datetime(1970, 1, 1) -%}
    {%- if oldest is not none -%}
        {%- set day = day + modules.datetime.timedelta(milliseconds=oldest | int) - modules.datetime.timedelta(days=1) -%}
    {%- endif -%}
    TIMESTAMP '{{ day.strftime("%Y-%m-%d") }} 00:00:00+00'
{%- endmacro %}
