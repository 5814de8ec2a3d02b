{% macro empty_to_null(column) -%}
    NULLIF({{ column }}, '')
{%- endmacro %}

{% macro id_from_url(column) -%}
    SAFE_CAST(ARRAY_REVERSE(SPLIT({{ column }}, '/'))[SAFE_OFFSET(0)] AS INT64)
{%- endmacro %}

{% macro ids_from_urls(column) -%}
    ARRAY(
        SELECT {{ id_from_url('address') }}
        FROM UNNEST({{ column }}) AS address WITH OFFSET AS position
        WHERE {{ id_from_url('address') }} IS NOT NULL
        ORDER BY position
    )
{%- endmacro %}

{% macro counts_by_status(column) -%}
    COUNTIF({{ column }} = 'Alive') AS alive_count,
    COUNTIF({{ column }} = 'Dead') AS dead_count,
    COUNTIF({{ column }} IS NULL OR {{ column }} NOT IN ('Alive', 'Dead')) AS unknown_count
{%- endmacro %}
