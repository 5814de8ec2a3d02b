{% macro job_labels(node) -%}
    {%- set labels = {'pipeline': 'rickandmorty', 'target': target.name} -%}
    {%- if node is not none -%}
        {%- do labels.update(node=node.name, layer=node.config.labels.layer or node.resource_type) -%}
    {%- endif -%}
    {%- set run_id = env_var('MELTANO_RUN_ID', '') -%}
    {%- if run_id -%}
        {%- do labels.update(run_id=run_id) -%}
    {%- endif -%}
    {{ return(tojson(labels)) }}
{%- endmacro %}
