{{ after_the_verdict() }}
SELECT
    episode_id,
    episode_name,
    episode_code,
    season_number,
    episode_number,
    air_date,
    ARRAY_LENGTH(character_ids) AS listed_character_count,
    created_at,
    loaded_at,
    run_id
FROM {{ ref('stg_rickandmorty__episodes') }}
