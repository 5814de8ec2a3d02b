{% test unique_combination_of_columns(model, combination_of_columns) %}
WITH keys AS (
    SELECT
        {% for column in combination_of_columns %}
            {{ column }} AS key_{{ loop.index }}{{ '' if loop.last else ',' }}
        {% endfor %}
    FROM {{ model }}
)

SELECT
    keys.*,
    COUNT(*) AS row_count
FROM keys
GROUP BY ALL
HAVING COUNT(*) > 1{% for column in combination_of_columns %} OR key_{{ loop.index }} IS NULL{% endfor %}

{% endtest %}

{% test every_key_is_there(model, stream, key) %}
WITH whole AS (
    SELECT MAX(started_at) AS started_at
    FROM {{ ref('int_build_versions') }}
    WHERE entity = '{{ stream }}' AND replication = 'full'
)

SELECT
    {% for column in key %}
        landing.`{{ column }}` AS key_{{ loop.index }},
    {% endfor %}
    MAX(landing._sdc_table_version) AS table_version
FROM {{ source('rickandmorty', stream) }} AS landing
INNER JOIN {{ ref('int_build_versions') }} AS versions
    ON
        versions.entity = '{{ stream }}'
        AND landing._sdc_table_version = versions.table_version
        AND landing._sdc_run_id = versions.run_id
CROSS JOIN whole
LEFT JOIN {{ model }} AS staged
    ON {% for column, name in key.items() %}landing.`{{ column }}` = staged.{{ name }}{{ '' if loop.last else ' AND ' }}{% endfor %}

WHERE versions.started_at >= IFNULL(whole.started_at, TIMESTAMP '1970-01-01 00:00:00+00') AND staged.table_version IS NULL
GROUP BY {% for column in key %}landing.`{{ column }}`{{ '' if loop.last else ', ' }}{% endfor %}

HAVING COUNTIF(landing._sdc_deleted_at IS NOT NULL) = 0
{% endtest %}

{% test expression_is_true(model, expression) %}
WITH checked AS (
    SELECT
        CASE
            {% for condition in ([expression] if expression is string else expression) %}
                WHEN NOT IFNULL({{ condition }}, FALSE) THEN {{ tojson(condition) }}
            {% endfor %}
        END AS broken,
        model.*
    FROM {{ model }} AS model
)

SELECT * FROM checked
WHERE broken IS NOT NULL
{% endtest %}
