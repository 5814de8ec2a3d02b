SELECT
    episodes.season_number,
    {{ measure('episode_count', 'episodes') }} AS episode_count,
    MIN(episodes.air_date) AS first_air_date,
    MAX(episodes.air_date) AS last_air_date,
    {{ measure('appearance_count', 'appearances') }} AS appearance_count,
    {{ measure('character_count', 'appearances') }} AS character_count,
    {{ measure('first_appearance_count') }} AS first_appearance_count,
    {{ measure('appearance_count', 'appearances') }}
    / {{ measure('episode_count', 'episodes') }} AS characters_per_episode
FROM {{ ref('dim_episodes') }} AS episodes
LEFT JOIN {{ ref('fct_appearances') }} AS appearances
    ON episodes.episode_id = appearances.episode_id
WHERE episodes.season_number IS NOT NULL
GROUP BY episodes.season_number
