{% macro after_the_verdict() -%}
    {# While parsing only: the order is all that is needed, and a unit test has no verdict. #}
    {%- if not execute -%}-- depends_on: {{ ref('rpt_verdict') }}{%- endif -%}
{%- endmacro %}
