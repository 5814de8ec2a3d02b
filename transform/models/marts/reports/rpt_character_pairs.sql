WITH seen AS (
    -- Pairs grow with the square of an episode's characters; a crowd says nothing about who belongs together.
    SELECT
        character_id,
        episode_id
    FROM {{ ref('fct_appearances') }}
    QUALIFY COUNT(*) OVER (PARTITION BY episode_id) <= {{ whole_number('crowd_size', 100000) }}
),

counted AS (
    SELECT
        character_id,
        COUNT(*) AS episode_count
    FROM seen
    GROUP BY character_id
),

shared AS (
    SELECT
        a.character_id AS first_character_id,
        b.character_id AS second_character_id,
        COUNT(*) AS shared_episode_count
    FROM seen AS a
    INNER JOIN seen AS b
        ON a.episode_id = b.episode_id AND a.character_id < b.character_id
    GROUP BY first_character_id, second_character_id
),

measured AS (
    SELECT
        shared.first_character_id,
        shared.second_character_id,
        shared.shared_episode_count,
        a.episode_count + b.episode_count - shared.shared_episode_count AS either_episode_count
    FROM shared
    INNER JOIN counted AS a
        ON shared.first_character_id = a.character_id
    INNER JOIN counted AS b
        ON shared.second_character_id = b.character_id
)

SELECT
    measured.first_character_id,
    a.character_name AS first_character_name,
    measured.second_character_id,
    b.character_name AS second_character_name,
    measured.shared_episode_count,
    measured.either_episode_count,
    measured.shared_episode_count / measured.either_episode_count AS similarity
FROM measured
LEFT JOIN {{ ref('dim_characters') }} AS a
    ON measured.first_character_id = a.character_id
LEFT JOIN {{ ref('dim_characters') }} AS b
    ON measured.second_character_id = b.character_id
