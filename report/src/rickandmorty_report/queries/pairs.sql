-- The pairs among the 15 characters with the most episodes, and how many pairs there are at all.
WITH leading AS (
    SELECT character_id
    FROM dim_characters
    ORDER BY episode_count DESC, character_id ASC
    LIMIT 15
)

SELECT
    p.first_character_id,
    p.first_character_name,
    p.second_character_id,
    p.second_character_name,
    p.shared_episode_count,
    p.either_episode_count,
    p.similarity,
    (SELECT COUNT(*) FROM rpt_character_pairs) AS total_rows
FROM rpt_character_pairs AS p
INNER JOIN leading AS a
    ON p.first_character_id = a.character_id
INNER JOIN leading AS b
    ON p.second_character_id = b.character_id
ORDER BY p.shared_episode_count DESC, p.similarity DESC, p.first_character_id ASC, p.second_character_id ASC
