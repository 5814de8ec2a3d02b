WITH breakdowns AS (
    SELECT
        'species' AS breakdown,
        character_id,
        IFNULL(species, 'unknown') AS breakdown_value,
        IFNULL(status, 'unknown') AS status
    FROM {{ ref('dim_characters') }}

    UNION ALL

    SELECT
        'origin' AS breakdown,
        character_id,
        IFNULL(origin_name, 'unknown') AS breakdown_value,
        IFNULL(status, 'unknown') AS status
    FROM {{ ref('dim_characters') }}
),

counted AS (
    SELECT
        breakdown,
        breakdown_value,
        status,
        {{ measure('character_count') }} AS character_count
    FROM breakdowns
    GROUP BY breakdown, breakdown_value, status
)

SELECT
    breakdown,
    breakdown_value,
    status,
    character_count,
    character_count / SUM(character_count) OVER (PARTITION BY breakdown, breakdown_value) AS share
FROM counted
