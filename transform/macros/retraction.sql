{% macro refuse_an_unknown_run(run_id) -%}
    {%- set ledger = source('rickandmorty', '_loads') -%}
    {%- set found = run_query(
        "SELECT COUNT(*), COUNTIF(retracted_at IS NULL) FROM " ~ ledger ~ " WHERE run_id = '" ~ run_id ~ "'"
    ).rows[0] -%}
    {%- if found[0] == 0 -%}
        {{ exceptions.raise_compiler_error("run " ~ run_id ~ ": expected a run of the ledger " ~ ledger ~ ", found none; "
            ~ "rpt_loads lists the runs that there are") }}
    {%- endif -%}
{%- endmacro %}

{% macro retract(run_id, reason, stream=none, undo=false) -%}
    {%- set ledger = source('rickandmorty', '_loads') -%}
    {%- if not reason and not undo -%}
        {{ exceptions.raise_compiler_error("retract: a reason is needed, such as reason: 'the API answered with half its records'") }}
    {%- endif -%}
    {%- do refuse_an_unknown_run(run_id) -%}
    {%- set versions = run_query(
        "SELECT stream, table_version, rows FROM " ~ ledger ~ " WHERE run_id = '" ~ run_id ~ "'"
        ~ (" AND stream = '" ~ stream ~ "'" if stream else "") ~ " ORDER BY stream, table_version"
    ).rows -%}
    {%- if not versions -%}
        {{ exceptions.raise_compiler_error("run " ~ run_id ~ " loaded no stream " ~ stream ~ "; rpt_loads lists what it loaded") }}
    {%- endif -%}
    {%- set marked = [] -%}
    {%- for version in versions -%}
        {%- do marked.append("stream = '" ~ version[0] ~ "' AND table_version = " ~ version[1]) -%}
    {%- endfor -%}
    {%- set marks = "retracted_at = NULL, retraction_reason = NULL" if undo
        else "retracted_at = CURRENT_TIMESTAMP(), retraction_reason = '" ~ escape_single_quotes(reason) ~ "'" -%}
    {%- do run_query("UPDATE " ~ ledger ~ " SET " ~ marks ~ " WHERE (" ~ marked | join(') OR (') ~ ")") -%}
    {%- for version in versions -%}
        {%- do log(
            version[0] ~ ": version " ~ version[1] ~ " (" ~ version[2] ~ " rows) is "
            ~ ("read again" if undo else "retracted") ~ " from the next build on", info=true
        ) -%}
    {%- endfor -%}
{%- endmacro %}
