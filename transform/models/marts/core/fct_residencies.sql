WITH links AS (
    SELECT
        character_id,
        last_location_id AS location_id,
        TRUE AS told_by_character,
        FALSE AS told_by_location
    FROM {{ ref('stg_rickandmorty__characters') }}
    WHERE last_location_id IS NOT NULL

    UNION ALL

    SELECT
        character_id,
        locations.location_id,
        FALSE AS told_by_character,
        TRUE AS told_by_location
    FROM {{ ref('stg_rickandmorty__locations') }} AS locations
    CROSS JOIN UNNEST(locations.resident_ids) AS character_id
),

residencies AS (
    SELECT
        character_id,
        location_id,
        LOGICAL_OR(told_by_character) AS told_by_character,
        LOGICAL_OR(told_by_location) AS told_by_location
    FROM links
    GROUP BY character_id, location_id
)

SELECT
    character_id,
    location_id,
    told_by_character,
    told_by_location,
    told_by_character != told_by_location AS is_asymmetric
FROM residencies
