{{ after_the_verdict() }}
WITH marts AS (
    {% for entity in var('entities') %}
        SELECT
            '{{ entity }}' AS entity,
            COUNT(*) AS mart_row_count
        FROM {{ ref('dim_' ~ entity) }}
        {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
)

SELECT
    loads.run_id,
    loads.entity,
    loads.table_version,
    loads.load_method,
    loads.replication,
    loads.proof,
    loads.source,
    loads.extractor,
    loads.row_count,
    landed.landed_row_count,
    marts.mart_row_count,
    landed.new_field_count,
    loads.byte_count,
    loads.part_count,
    loads.started_at,
    loads.finished_at,
    TIMESTAMP_DIFF(loads.finished_at, loads.started_at, MILLISECOND) / 1000 AS seconds,
    versions.recency = 1 AS is_newest
FROM {{ ref('stg_rickandmorty__loads') }} AS loads
INNER JOIN {{ ref('int_build_versions') }} AS versions
    ON
        loads.entity = versions.entity
        AND loads.table_version = versions.table_version
        AND loads.run_id = versions.run_id
LEFT JOIN {{ ref('int_landed') }} AS landed
    ON loads.entity = landed.entity AND versions.recency = 1
LEFT JOIN marts
    ON loads.entity = marts.entity AND versions.recency = 1
