SELECT
    episodes.season_number,
    COUNT(DISTINCT episodes.episode_id) AS episode_count,
    MIN(episodes.air_date) AS first_air_date,
    MAX(episodes.air_date) AS last_air_date,
    COUNT(appearances.character_id) AS appearance_count,
    COUNT(DISTINCT appearances.character_id) AS character_count,
    COUNTIF(appearances.is_first_appearance) AS first_appearance_count,
    COUNT(appearances.character_id) / COUNT(DISTINCT episodes.episode_id) AS characters_per_episode
FROM {{ ref('dim_episodes') }} AS episodes
LEFT JOIN {{ ref('fct_appearances') }} AS appearances
    ON episodes.episode_id = appearances.episode_id
WHERE episodes.season_number IS NOT NULL
GROUP BY episodes.season_number
