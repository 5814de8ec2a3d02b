-- The newest load of each entity first, then the ones before: 60 at most.
SELECT
    entity,
    run_id,
    source,
    load_method,
    row_count,
    landed_row_count,
    mart_row_count,
    new_field_count,
    byte_count,
    part_count,
    finished_at,
    seconds,
    is_newest,
    COUNT(*) OVER () AS total_rows
FROM rpt_loads
ORDER BY is_newest DESC, finished_at DESC, entity ASC
LIMIT 60
