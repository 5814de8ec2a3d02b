-- The newest 60 seasons.
SELECT
    season_number,
    episode_count,
    first_air_date,
    last_air_date,
    appearance_count,
    character_count,
    first_appearance_count,
    characters_per_episode,
    COUNT(*) OVER () AS total_rows
FROM rpt_season_summary
ORDER BY season_number DESC
LIMIT 60
