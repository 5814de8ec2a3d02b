{{ after_the_verdict() }}
SELECT
    character_id,
    character_name,
    status,
    species,
    character_type,
    gender,
    origin_location_id,
    origin_name,
    last_location_id,
    last_location_name,
    ARRAY_LENGTH(episode_ids) AS episode_count,
    image_url,
    created_at,
    loaded_at,
    run_id
FROM {{ ref('stg_rickandmorty__characters') }}
