{% macro bigquery__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- set table = adapter.get_bq_table(relation) -%}
    {%- if for_relation and config.persist_relation_docs() and model.description and table.description != model.description -%}
        {%- do alter_relation_comment(relation, model.description) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() and model.columns -%}
        {%- set there = {} -%}
        {%- for field in table.schema -%}
            {%- do there.update({field.name: field.description}) -%}
        {%- endfor -%}
        {%- set changed = [] -%}
        {%- for name, column in model.columns.items() if there.get(name) != column.description -%}
            {%- do changed.append(name) -%}
        {%- endfor -%}
        {%- if changed -%}
            {%- do alter_column_comment(relation, model.columns) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
