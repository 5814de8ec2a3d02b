WITH marts AS (
    {% for entity in tracked_fields() %}
        SELECT
            '{{ entity }}' AS entity,
            COUNT(*) AS row_count
        FROM {{ ref('dim_' ~ entity) }}
        {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
)

SELECT
    loads.run_id,
    loads.entity,
    loads.table_version,
    loads.load_method,
    loads.row_count,
    IFNULL(landed.row_count, 0) AS landed_row_count,
    IF(loads.recency = 1, marts.row_count, NULL) AS mart_row_count,
    IFNULL(landed.new_field_count, 0) AS new_field_count,
    loads.byte_count,
    loads.part_count,
    loads.started_at,
    loads.finished_at,
    TIMESTAMP_DIFF(loads.finished_at, loads.started_at, MILLISECOND) / 1000 AS seconds,
    loads.recency = 1 AS is_newest
FROM {{ ref('stg_rickandmorty__loads') }} AS loads
LEFT JOIN {{ ref('int_landed_versions') }} AS landed
    ON loads.entity = landed.entity AND loads.table_version = landed.table_version
LEFT JOIN marts
    ON loads.entity = marts.entity
