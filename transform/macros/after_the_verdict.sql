{% macro after_the_verdict() -%}
    {%- if not execute -%}
        -- depends_on: {{ ref('rpt_verdict') }}, {{ ref('int_build_versions') }}
    {%- elif model.resource_type == 'model' and flags.WHICH in ('build', 'run') -%}
        {%- do refuse_empty() -%}
        {%- do refuse_without_the_verdict(ref('rpt_verdict'), ref('int_build_versions')) -%}
    {%- endif -%}
{%- endmacro %}

{% macro refuse_without_the_verdict(verdict, versions) -%}
    {%- set judged = load_relation(verdict) is not none -%}
    {%- set found = run_query(
        "SELECT (SELECT MAX(build_id) FROM " ~ versions ~ "), (SELECT MAX(build_id) FROM " ~ verdict ~ "), "
        ~ "(SELECT COUNTIF(status = 'fail') FROM " ~ verdict ~ ")"
    ).rows[0] if judged else [none, none, 0] -%}
    {%- set is_ours = 'model.' ~ project_name ~ '.int_build_versions' in selected_resources -%}
    {%- if is_ours and judged and found[0] is not none and found[0] != invocation_id -%}
        {{ exceptions.raise_compiler_error(
            "another build has written " ~ versions ~ " meanwhile, and this one would mix its versions with its own; "
            ~ "build again when it has ended"
        ) }}
    {%- elif not judged or found[0] != found[1] -%}
        {{ exceptions.raise_compiler_error(
            "expected a verdict on the versions in " ~ versions ~ ", found none in " ~ verdict
            ~ "; select rpt_verdict too, or a mart with what it needs, such as --select +" ~ model.name
        ) }}
    {%- elif found[2] -%}
        {{ exceptions.raise_compiler_error(
            "the verdict on the versions of this build is fail; " ~ model.name ~ " stays as it was. SELECT message FROM "
            ~ verdict ~ " WHERE status = 'fail' says why"
        ) }}
    {%- endif -%}
{%- endmacro %}
