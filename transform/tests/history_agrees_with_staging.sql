-- The open rows of each history against the staged records: one for each of them, and none for any other.
WITH rows_and_records AS (
    {% for entity, name in {'characters': 'character', 'episodes': 'episode', 'locations': 'location'}.items() %}
        SELECT
            '{{ entity }}' AS entity,
            {{ name }}_id AS record_id,
            1 AS record_count,
            0 AS open_row_count
        FROM {{ ref('stg_rickandmorty__' ~ entity) }}
        UNION ALL
        SELECT
            '{{ entity }}' AS entity,
            {{ name }}_id AS record_id,
            0 AS record_count,
            1 AS open_row_count
        FROM {{ ref('snap_' ~ entity) }}
        WHERE dbt_valid_to IS NULL
        {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
)

SELECT
    entity,
    record_id,
    SUM(record_count) AS staged_record_count,
    SUM(open_row_count) AS history_row_count
FROM rows_and_records
GROUP BY entity, record_id
HAVING staged_record_count != 1 OR history_row_count != 1
