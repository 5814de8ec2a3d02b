{% macro id_from_url(column) -%}
    SAFE_CAST(REGEXP_EXTRACT({{ column }}, r'(?:^|/)([0-9]+)$') AS INT64)
{%- endmacro %}

{% macro ids_from_urls(column) -%}
    ARRAY(
        SELECT {{ id_from_url('address') }}
        FROM UNNEST({{ column }}) AS address WITH OFFSET AS position
        WHERE {{ id_from_url('address') }} IS NOT NULL
        ORDER BY position
    )
{%- endmacro %}

{% macro unreadable_address_count(list, addresses=[]) -%}
    (SELECT COUNT(*) FROM UNNEST({{ list }}) AS address WHERE {{ id_from_url('address') }} IS NULL)
    {%- for address in addresses %}
        + IF(IFNULL({{ address }}, '') != '' AND {{ id_from_url(address) }} IS NULL, 1, 0)
    {%- endfor %}
{%- endmacro %}

{% macro json_text(column) -%}
    NULLIF(TO_JSON_STRING({{ column }}), 'null')
{%- endmacro %}
