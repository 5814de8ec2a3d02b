{{ after_the_verdict() }}
WITH held AS (
    {% for entity in tracked_fields() %}
        SELECT
            '{{ entity }}' AS entity,
            COUNT(*) AS landed_row_count,
            COUNT(new_fields) AS new_field_count,
            (SELECT COUNT(*) FROM {{ ref('dim_' ~ entity) }}) AS mart_row_count
        FROM {{ ref('stg_rickandmorty__' ~ entity) }}
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
    held.landed_row_count,
    held.mart_row_count,
    held.new_field_count,
    loads.byte_count,
    loads.part_count,
    loads.started_at,
    loads.finished_at,
    TIMESTAMP_DIFF(loads.finished_at, loads.started_at, MILLISECOND) / 1000 AS seconds,
    versions.recency = 1 AS is_newest
FROM {{ ref('stg_rickandmorty__loads') }} AS loads
INNER JOIN {{ ref('int_build_versions') }} AS versions
    ON loads.entity = versions.entity AND loads.table_version = versions.table_version
LEFT JOIN held
    ON loads.entity = held.entity AND versions.recency = 1
