WITH links AS (
    SELECT
        characters.character_id,
        episode_id,
        TRUE AS told_by_character,
        FALSE AS told_by_episode
    FROM {{ ref('stg_rickandmorty__characters') }} AS characters
    CROSS JOIN UNNEST(characters.episode_ids) AS episode_id

    UNION ALL

    SELECT
        character_id,
        episodes.episode_id,
        FALSE AS told_by_character,
        TRUE AS told_by_episode
    FROM {{ ref('stg_rickandmorty__episodes') }} AS episodes
    CROSS JOIN UNNEST(episodes.character_ids) AS character_id
),

appearances AS (
    SELECT
        character_id,
        episode_id,
        LOGICAL_OR(told_by_character) AS told_by_character,
        LOGICAL_OR(told_by_episode) AS told_by_episode
    FROM links
    GROUP BY character_id, episode_id
)

SELECT
    appearances.character_id,
    appearances.episode_id,
    appearances.told_by_character,
    appearances.told_by_episode,
    appearances.told_by_character != appearances.told_by_episode AS is_asymmetric,
    -- An episode that is not there, or has no place in a season, comes last.
    ROW_NUMBER() OVER (
        PARTITION BY appearances.character_id
        ORDER BY
            IFNULL(episodes.season_number, 1000000), IFNULL(episodes.episode_number, 1000000), appearances.episode_id
    ) = 1 AS is_first_appearance
FROM appearances
LEFT JOIN {{ ref('stg_rickandmorty__episodes') }} AS episodes
    ON appearances.episode_id = episodes.episode_id
