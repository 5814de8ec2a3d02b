{% macro policy(check) -%}
    {%- set chosen = env_var('DBT_VERDICT_' ~ check | upper, var('verdict').get(check, 'none')) -%}
    {%- if chosen not in ['fail', 'warn', 'ignore'] -%}
        {{ exceptions.raise_compiler_error(
            "verdict: the policy of the check " ~ check ~ " is fail, warn or ignore, got '" ~ chosen
            ~ "'; set DBT_VERDICT_" ~ check | upper ~ ", or the variable verdict in dbt_project.yml"
        ) }}
    {%- endif -%}
    {{ return(chosen) }}
{%- endmacro %}

{% macro verdict_limit(name, most) -%}
    {%- set chosen = env_var('DBT_VERDICT_' ~ name | upper, var('verdict_' ~ name) | string) -%}
    {%- if not modules.re.fullmatch('[0-9]{1,9}', chosen) or chosen | int > most -%}
        {{ exceptions.raise_compiler_error(
            "verdict: " ~ name ~ " is a whole number, at most " ~ most ~ ", got '" ~ chosen ~ "'; set DBT_VERDICT_" ~ name | upper
            ~ ", or the variable verdict_" ~ name ~ " in dbt_project.yml"
        ) }}
    {%- endif -%}
    {{ return(chosen) }}
{%- endmacro %}
