{{ after_the_verdict() }}
WITH appearances AS (
    SELECT
        character_id,
        COUNT(*) AS episode_count
    FROM {{ ref('int_links') }}
    WHERE link = 'appearance'
    GROUP BY character_id
)

SELECT
    characters.character_id,
    characters.character_name,
    characters.status,
    characters.species,
    characters.character_type,
    characters.gender,
    characters.origin_location_id,
    characters.origin_name,
    characters.last_location_id,
    characters.last_location_name,
    IFNULL(appearances.episode_count, 0) AS episode_count,
    characters.image_url,
    characters.created_at,
    characters.loaded_at,
    characters.run_id
FROM {{ ref('stg_rickandmorty__characters') }} AS characters
LEFT JOIN appearances
    ON characters.character_id = appearances.character_id
