{% macro literal(text) -%}
    '{{ text | string | replace("\\", "\\\\") | replace("'", "\\'") | replace("\n", "\\n") | replace("\r", "\\r") }}'
{%- endmacro %}

{% macro refuse_an_unknown_run(run_id) -%}
    {%- set ledger = source('rickandmorty', '_loads') -%}
    {%- if not run_query("SELECT 1 FROM " ~ ledger ~ " WHERE run_id = " ~ literal(run_id) ~ " LIMIT 1").rows -%}
        {{ exceptions.raise_compiler_error("run " ~ run_id ~ ": expected a run of the ledger " ~ ledger ~ ", found none; "
            ~ "rpt_loads lists the runs that there are") }}
    {%- endif -%}
{%- endmacro %}

{% macro retract(run_id, reason=none, stream=none, undo=false) -%}
    {%- set ledger = source('rickandmorty', '_loads') -%}
    {%- if undo not in [true, false] -%}
        {{ exceptions.raise_compiler_error("retract: undo is true or false, without quotes, got '" ~ undo ~ "'") }}
    {%- endif -%}
    {%- if not (reason or '') | string | trim and not undo -%}
        {{ exceptions.raise_compiler_error("retract: a reason is needed, such as reason: 'the API answered with half its records'") }}
    {%- endif -%}
    {%- do refuse_an_unknown_run(run_id) -%}
    {%- set of_the_run = "run_id = " ~ literal(run_id) ~ (" AND stream = " ~ literal(stream) if stream else "") -%}
    {%- set versions = run_query(
        "SELECT stream, table_version, `rows`, CAST(retracted_at AS STRING), retraction_reason FROM " ~ ledger
        ~ " WHERE " ~ of_the_run ~ " ORDER BY stream, table_version"
    ).rows -%}
    {%- if not versions -%}
        {{ exceptions.raise_compiler_error("run " ~ run_id ~ " loaded no stream " ~ stream ~ "; rpt_loads lists what it loaded") }}
    {%- endif -%}
    {#- Who retracts again, after a time-out or from another desk, keeps the first reason and time. -#}
    {%- set change = "retracted_at = NULL, retraction_reason = NULL WHERE retracted_at IS NOT NULL" if undo
        else "retracted_at = CURRENT_TIMESTAMP(), retraction_reason = " ~ literal(reason) ~ " WHERE retracted_at IS NULL" -%}
    {%- do run_query("UPDATE " ~ ledger ~ " SET " ~ change ~ " AND " ~ of_the_run) -%}
    {%- for version in versions -%}
        {%- if undo -%}
            {%- set outcome = "is read again from the next build on" if version[3] else "was not retracted; nothing is changed" -%}
        {%- elif version[3] -%}
            {%- set outcome = "was retracted at " ~ version[3] ~ " already, which is kept with its reason: " ~ version[4] | replace("\n", " ") -%}
        {%- else -%}
            {%- set outcome = "is retracted from the next build on" -%}
        {%- endif -%}
        {%- do log(version[0] ~ ": version " ~ version[1] ~ " (" ~ version[2] ~ " rows) " ~ outcome, info=true) -%}
    {%- endfor -%}
{%- endmacro %}
