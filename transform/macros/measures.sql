{% macro measure(name, table=none) -%}
    {%- set defined = var('measures')[name] -%}
    {%- set forms = {'count': 'COUNT({})', 'count_distinct': 'COUNT(DISTINCT {})', 'sum_boolean': 'COUNTIF({})'} -%}
    {{ return(forms[defined.agg].format((table ~ '.' if table else '') ~ defined.expr)) }}
{%- endmacro %}
