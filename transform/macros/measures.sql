{% macro measure(name, table=none) -%}
    {%- set forms = {'count': 'COUNT({})', 'count_distinct': 'COUNT(DISTINCT {})', 'sum_boolean': 'COUNTIF({})'} -%}
    {#- Metrics are read after the models. -#}
    {%- if execute -%}
        {%- set defined = graph.metrics['metric.' ~ project_name ~ '.' ~ name].type_params -%}
        {{ return(forms[defined.metric_aggregation_params.agg].format((table ~ '.' if table else '') ~ defined.expr)) }}
    {%- endif -%}
{%- endmacro %}
