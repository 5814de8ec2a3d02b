-- The 15 characters with the most episodes, and the sums over all of them.
SELECT
    character_id,
    character_name,
    species,
    status,
    episode_count,
    COUNT(*) OVER () AS total_rows,
    SUM(episode_count) OVER () AS total_count
FROM dim_characters
ORDER BY episode_count DESC, character_id ASC
LIMIT 15
