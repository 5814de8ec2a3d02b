WITH residents AS (
    SELECT
        residencies.location_id,
        {{ measure('resident_count', 'residencies') }} AS resident_count,
        {{ measure('alive_count') }} AS alive_count,
        {{ measure('dead_count') }} AS dead_count,
        {{ measure('unknown_count') }} AS unknown_count
    FROM {{ ref('fct_residencies') }} AS residencies
    LEFT JOIN {{ ref('dim_characters') }} AS characters
        ON residencies.character_id = characters.character_id
    GROUP BY residencies.location_id
),

origins AS (
    SELECT
        origin_location_id AS location_id,
        COUNT(*) AS origin_count
    FROM {{ ref('dim_characters') }}
    GROUP BY origin_location_id
)

SELECT
    locations.location_id,
    locations.location_name,
    locations.location_type,
    locations.dimension,
    IFNULL(residents.resident_count, 0) AS resident_count,
    IFNULL(origins.origin_count, 0) AS origin_count,
    IFNULL(residents.alive_count, 0) AS alive_count,
    IFNULL(residents.dead_count, 0) AS dead_count,
    IFNULL(residents.unknown_count, 0) AS unknown_count
FROM {{ ref('dim_locations') }} AS locations
LEFT JOIN residents
    ON locations.location_id = residents.location_id
LEFT JOIN origins
    ON locations.location_id = origins.location_id
