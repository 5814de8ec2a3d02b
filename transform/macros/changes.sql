{% macro compared_entities() -%}
    {%- set found = [] -%}
    {%- for entity, described in var('entities').items() -%}
        {%- set fields = var('fields')[entity] -%}
        {%- if described.replication == 'full' and described.key == ['id'] and fields.id == 'INT64' and fields.name == 'STRING' -%}
            {%- do found.append(entity) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{% macro tracked_fields(entity) -%}
    {%- set found = {} -%}
    {%- for field, kind in var('fields')[entity].items() if field not in ('id', 'url', 'created') -%}
        {%- set column = '{side}.`' ~ field.replace('.', '`.`') ~ '`' -%}
        {%- if kind == 'ARRAY<STRING>' -%}
            {%- set column = last_parts(column) -%}
        {%- elif kind == 'JSON' or 'ARRAY' in kind -%}
            {%- set column = json_text(column) -%}
        {%- elif kind != 'STRING' -%}
            {%- set column = 'CAST(' ~ column ~ ' AS STRING)' -%}
        {%- endif -%}
        {%- do found.update({field: column}) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{% macro last_parts(column) -%}
    ARRAY_TO_STRING(
        ARRAY(
            SELECT IF(STARTS_WITH(address, 'http'), REGEXP_EXTRACT(address, r'[^/]*/*$'), address)
            FROM UNNEST({{ column }}) AS address WITH OFFSET AS position
            ORDER BY position
        ), ', '
    )
{%- endmacro %}
