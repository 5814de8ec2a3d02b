WITH listed AS (
    SELECT
        'appearance' AS link,
        characters.character_id,
        linked_id,
        TRUE AS listed_by_character,
        FALSE AS listed_by_linked
    FROM {{ ref('stg_rickandmorty__characters') }} AS characters
    CROSS JOIN UNNEST(characters.episode_ids) AS linked_id

    UNION ALL

    SELECT
        'appearance' AS link,
        character_id,
        episodes.episode_id AS linked_id,
        FALSE AS listed_by_character,
        TRUE AS listed_by_linked
    FROM {{ ref('stg_rickandmorty__episodes') }} AS episodes
    CROSS JOIN UNNEST(episodes.character_ids) AS character_id

    UNION ALL

    SELECT
        'residency' AS link,
        character_id,
        last_location_id AS linked_id,
        TRUE AS listed_by_character,
        FALSE AS listed_by_linked
    FROM {{ ref('stg_rickandmorty__characters') }}
    WHERE last_location_id IS NOT NULL

    UNION ALL

    SELECT
        'residency' AS link,
        character_id,
        locations.location_id AS linked_id,
        FALSE AS listed_by_character,
        TRUE AS listed_by_linked
    FROM {{ ref('stg_rickandmorty__locations') }} AS locations
    CROSS JOIN UNNEST(locations.resident_ids) AS character_id
)

SELECT
    link,
    character_id,
    linked_id,
    LOGICAL_OR(listed_by_character) AS listed_by_character,
    LOGICAL_OR(listed_by_linked) AS listed_by_linked
FROM listed
GROUP BY link, character_id, linked_id
