{% for entity, described in var('entities').items() %}
    {% set versions = build_versions(entity, 2) %}
    {# Deltas that a whole version follows: how many records they left is in no row of the ledger. #}
    {% set is_counted = versions | map(attribute='replication') | list == ['full', 'incremental'] %}
    SELECT
        '{{ entity }}' AS entity,
        COUNT(*) AS landed_row_count,
        COUNT({{ json_text('landing.new_fields') }}) AS new_field_count,
        {% if is_counted %}
            (SELECT COUNT(*) FROM {{ newest_record_of_each_key(entity, described.key, skipped=1) }}) AS known_row_count
        {% else %}
            CAST(NULL AS INT64) AS known_row_count
        {% endif %}
    FROM {{ source('rickandmorty', entity) }} AS landing
    WHERE {{ of_versions(versions[:1]) }}
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
