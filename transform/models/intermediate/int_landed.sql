{% for entity, described in var('entities').items() %}
    {% set versions = build_versions(entity) %}
    {% set replications = versions | map(attribute='replication') | list %}
    {# Whole versions since the last delta: how many records that one left is in no row of the ledger. #}
    {% set wholes = replications.index('incremental') if 'incremental' in replications else 0 %}
    {% set baseline = versions | selectattr('is_baseline') | map(attribute='replication') | list %}
    SELECT
        '{{ entity }}' AS entity,
        '{{ described.singular }}' AS job,
        COUNT(*) AS landed_row_count,
        COUNT({{ json_text('landing.new_fields') }}) AS new_field_count,
        {% if wholes and baseline == ['incremental'] %}
            (SELECT COUNT(*) FROM {{ newest_record_of_each_key(entity, described.key, skipped=wholes) }}) AS known_row_count
        {% else %}
            CAST(NULL AS INT64) AS known_row_count
        {% endif %}
    FROM {{ source('rickandmorty', entity) }} AS landing
    WHERE {{ of_versions(versions[:1]) }}
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
