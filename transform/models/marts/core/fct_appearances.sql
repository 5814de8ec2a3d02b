{{ after_the_verdict() }}
SELECT
    links.character_id,
    links.linked_id AS episode_id,
    links.listed_by_character,
    links.listed_by_linked AS listed_by_episode,
    links.listed_by_character != links.listed_by_linked AS is_asymmetric,
    -- An episode that is not there, or has no place in a season, comes last.
    ROW_NUMBER() OVER (
        PARTITION BY links.character_id
        ORDER BY
            IFNULL(episodes.season_number, 1000000), IFNULL(episodes.episode_number, 1000000), links.linked_id
    ) = 1 AS is_first_appearance,
    episodes.air_date
FROM {{ ref('int_links') }} AS links
LEFT JOIN {{ ref('stg_rickandmorty__episodes') }} AS episodes
    ON links.linked_id = episodes.episode_id
WHERE links.link = 'appearance'
