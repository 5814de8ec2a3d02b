-- The newest 120 episodes, and the sums over all of them.
SELECT
    episode_id,
    episode_code,
    episode_name,
    season_number,
    episode_number,
    air_date,
    character_count,
    first_appearance_count,
    COUNT(*) OVER () AS total_rows,
    SUM(character_count) OVER () AS total_count
FROM rpt_episode_summary
ORDER BY season_number DESC, episode_number DESC, episode_id DESC
LIMIT 120
