-- The 12 largest values of each breakdown, the rest summed in one row per status; statuses that nobody knows are one.
WITH sized AS (
    SELECT
        breakdown,
        breakdown_value,
        SUM(character_count) AS value_size
    FROM rpt_character_status
    GROUP BY breakdown, breakdown_value
),

placed AS (
    SELECT
        breakdown,
        breakdown_value,
        ROW_NUMBER() OVER (PARTITION BY breakdown ORDER BY value_size DESC, breakdown_value ASC) AS place,
        COUNT(*) OVER (PARTITION BY breakdown) AS total_rows
    FROM sized
),

shown AS (
    SELECT
        p.breakdown,
        IF(p.place > 12, NULL, p.breakdown_value) AS shown_value,
        LEAST(p.place, 13) AS place,
        p.total_rows,
        IF(s.status IN ('Alive', 'Dead', 'unknown'), s.status, 'other') AS status,
        s.character_count
    FROM placed AS p
    INNER JOIN rpt_character_status AS s
        ON p.breakdown = s.breakdown AND p.breakdown_value = s.breakdown_value
)

SELECT
    breakdown,
    shown_value,
    place,
    total_rows,
    status,
    SUM(character_count) AS character_count
FROM shown
GROUP BY breakdown, shown_value, place, total_rows, status
ORDER BY breakdown, place, status
