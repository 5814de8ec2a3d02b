-- What is odd in the records of this build; add your own rules to it.
{% for entity in var('entities') %}
    SELECT
        'new_field' AS rule,
        'warning' AS severity,
        '{{ entity }}' AS entity,
        CAST(NULL AS INT64) AS record_id,
        CAST(NULL AS STRING) AS record_name,
        new_fields AS detail
    FROM {{ ref('stg_rickandmorty__' ~ entity) }}
    WHERE new_fields IS NOT NULL
    GROUP BY new_fields
    UNION ALL
{% endfor %}

SELECT
    'empty_entity' AS rule,
    'error' AS severity,
    entity,
    CAST(NULL AS INT64) AS record_id,
    CAST(NULL AS STRING) AS record_name,
    FORMAT('run %s loaded no record', run_id) AS detail
FROM {{ ref('int_build_versions') }}
WHERE recency = 1 AND row_count = 0 AND replication = 'full'
