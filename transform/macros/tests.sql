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

{% test expressions_are_true(model, expressions) %}
WITH checked AS (
    SELECT
        CASE
            {% for expression in expressions %}
                WHEN NOT IFNULL({{ expression }}, FALSE) THEN {{ tojson(expression) }}
            {% endfor %}
        END AS broken,
        model.*
    FROM {{ model }} AS model
)

SELECT * FROM checked
WHERE broken IS NOT NULL
{% endtest %}
