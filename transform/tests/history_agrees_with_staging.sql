-- The open rows of each history against the staged records: one for each of them, and none for any other.
{% for entity, name in {'characters': 'character', 'episodes': 'episode', 'locations': 'location'}.items() %}
    SELECT
        '{{ entity }}' AS entity,
        {{ name }}_id AS record_id,
        COUNTIF(is_staged) AS staged_record_count,
        COUNTIF(NOT is_staged) AS history_row_count
    FROM (
        SELECT {{ name }}_id, TRUE AS is_staged FROM {{ ref('stg_rickandmorty__' ~ entity) }}
        UNION ALL
        SELECT {{ name }}_id, FALSE AS is_staged FROM {{ ref('snap_' ~ entity) }} WHERE dbt_valid_to IS NULL
    )
    GROUP BY record_id
    HAVING staged_record_count != 1 OR history_row_count != 1
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
