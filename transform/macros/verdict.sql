{% macro policy(check) -%}
    {%- set chosen = env_var('DBT_VERDICT_' ~ check | upper, '') or (var('verdict') or {})[check] or 'none' -%}
    {%- if chosen not in ['fail', 'warn', 'ignore'] -%}
        {{ exceptions.raise_compiler_error(
            "verdict: the policy of the check " ~ check ~ " is fail, warn or ignore, got '" ~ chosen
            ~ "'; set DBT_VERDICT_" ~ check | upper ~ ", or the variable verdict in dbt_project.yml"
        ) }}
    {%- endif -%}
    {{ return(chosen) }}
{%- endmacro %}

{% macro whole_number(name, most) -%}
    {%- set chosen = env_var('DBT_' ~ name | upper, '') or var(name) | string -%}
    {%- if not modules.re.fullmatch('[0-9]{1,9}', chosen) or chosen | int > most -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is a whole number, at most " ~ most ~ ", got '" ~ chosen ~ "'; set DBT_" ~ name | upper
            ~ ", or the variable " ~ name ~ " in dbt_project.yml"
        ) }}
    {%- endif -%}
    {{ return(chosen) }}
{%- endmacro %}

{% macro accepted_until() -%}
    {%- set accepted = {} -%}
    {%- if execute and flags.WHICH != 'compile' -%}
        {%- set node = graph.nodes['model.' ~ project_name ~ '.rpt_verdict'] -%}
        {%- set verdict = load_relation(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) -%}
        {%- if verdict and 'accepted_until' in adapter.get_columns_in_relation(verdict) | map(attribute='name') -%}
            {%- for row in run_query(
                "SELECT entity, CAST(MAX(accepted_until) AS STRING) FROM " ~ verdict ~ " WHERE accepted_until IS NOT NULL GROUP BY entity"
            ).rows -%}
                {%- do accepted.update({row[0]: row[1]}) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
    {{ return(accepted) }}
{%- endmacro %}

{% macro refuse_empty() -%}
    {%- if execute and flags.WHICH in ('build', 'run') and flags.EMPTY and model.resource_type == 'model' and load_relation(this) is not none -%}
        {{ exceptions.raise_compiler_error(
            this ~ ": --empty reads no row, and would put an empty table in its place; build without it, or with a DATASET_PREFIX of its own"
        ) }}
    {%- endif -%}
{%- endmacro %}
