{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ env_var('DATASET_PREFIX', 'local_') }}rickandmorty_{{ (custom_schema_name or 'staging') | trim }}
{%- endmacro %}
