{% test one_row_each(model, columns) %}
WITH keys AS (
    SELECT
        {% for column in columns %}
            {{ column }} AS key_{{ loop.index }}{{ '' if loop.last else ',' }}
        {% endfor %}
    FROM {{ model }}
)

SELECT
    keys.*,
    COUNT(*) AS row_count
FROM keys
GROUP BY ALL
HAVING COUNT(*) > 1{% for column in columns %} OR key_{{ loop.index }} IS NULL{% endfor %}

{% endtest %}

{% test always(model, conditions) %}
WITH checked AS (
    SELECT
        CASE
            {% for condition in conditions %}
                WHEN NOT IFNULL({{ condition }}, FALSE) THEN {{ tojson(condition) }}
            {% endfor %}
        END AS broken,
        model.*
    FROM {{ model }} AS model
)

SELECT * FROM checked
WHERE broken IS NOT NULL
{% endtest %}
