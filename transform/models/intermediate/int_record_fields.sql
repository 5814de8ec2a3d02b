WITH
{% for entity, fields in tracked_fields().items() %}
    {{ entity }} AS (
        SELECT
            '{{ entity }}' AS entity,
            landing._sdc_table_version AS table_version,
            landing.id AS record_id,
            landing.name AS record_name,
            [
                {% for field, value in fields.items() %}
                    STRUCT('{{ field }}' AS field_name, {{ value }} AS value){{ '' if loop.last else ',' }}
                {% endfor %}
            ] AS fields
        FROM {{ source('rickandmorty', entity) }} AS landing
        WHERE {{ is_recent_version(entity, 2) }}
    ){{ '' if loop.last else ',' }}
{% endfor %}

{% for entity in tracked_fields() %}
    SELECT
        records.entity,
        records.table_version,
        records.record_id,
        records.record_name,
        field.field_name,
        field.value
    FROM {{ entity }} AS records
    CROSS JOIN UNNEST(records.fields) AS field
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
