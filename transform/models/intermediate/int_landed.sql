{% for entity in var('entities') %}
    SELECT
        '{{ entity }}' AS entity,
        COUNT(*) AS landed_row_count,
        COUNT({{ json_text('landing.new_fields') }}) AS new_field_count
    FROM {{ source('rickandmorty', entity) }} AS landing
    WHERE {{ of_versions(build_versions(entity, 1)) }}
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
