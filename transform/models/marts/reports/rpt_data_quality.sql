{{ after_the_verdict() }}
SELECT
    rule,
    severity,
    entity,
    record_id,
    record_name,
    detail
FROM {{ ref('int_findings') }}

{% for entity, key in {'characters': 'character', 'episodes': 'episode', 'locations': 'location'}.items() %}
    UNION ALL

    SELECT
        'id_reused' AS rule,
        'warning' AS severity,
        '{{ entity }}' AS entity,
        now.{{ key }}_id AS record_id,
        now.{{ key }}_name AS record_name,
        CONCAT(
            'was ', IFNULL(earlier.{{ key }}_name, 'a record without a name'), ', created ',
            FORMAT_TIMESTAMP('%F', earlier.created_at)
        ) AS detail
    FROM {{ ref('snap_' ~ entity) }} AS now
    INNER JOIN {{ ref('snap_' ~ entity) }} AS earlier
        ON now.{{ key }}_id = earlier.{{ key }}_id AND now.created_at != earlier.created_at
    WHERE now.dbt_valid_to IS NULL
    -- Of all that the id was, the last.
    QUALIFY ROW_NUMBER() OVER (PARTITION BY now.{{ key }}_id ORDER BY earlier.dbt_valid_from DESC) = 1
{% endfor %}
