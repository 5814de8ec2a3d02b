WITH appearances AS (
    SELECT
        appearances.episode_id,
        {{ measure('appearance_count', 'appearances') }} AS character_count,
        {{ measure('first_appearance_count') }} AS first_appearance_count,
        {{ measure('alive_count') }} AS alive_count,
        {{ measure('dead_count') }} AS dead_count,
        {{ measure('unknown_count') }} AS unknown_count
    FROM {{ ref('fct_appearances') }} AS appearances
    LEFT JOIN {{ ref('dim_characters') }} AS characters
        ON appearances.character_id = characters.character_id
    GROUP BY appearances.episode_id
)

SELECT
    episodes.episode_id,
    episodes.episode_code,
    episodes.episode_name,
    episodes.season_number,
    episodes.episode_number,
    episodes.air_date,
    IFNULL(appearances.character_count, 0) AS character_count,
    IFNULL(appearances.first_appearance_count, 0) AS first_appearance_count,
    IFNULL(appearances.alive_count, 0) AS alive_count,
    IFNULL(appearances.dead_count, 0) AS dead_count,
    IFNULL(appearances.unknown_count, 0) AS unknown_count
FROM {{ ref('dim_episodes') }} AS episodes
LEFT JOIN appearances
    ON episodes.episode_id = appearances.episode_id
