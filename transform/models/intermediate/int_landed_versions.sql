{% for entity in tracked_fields() %}
    SELECT
        '{{ entity }}' AS entity,
        _sdc_table_version AS table_version,
        COUNT(*) AS row_count,
        COUNT(new_fields) AS new_field_count
    FROM {{ source('rickandmorty', entity) }}
    GROUP BY _sdc_table_version
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
