-- 100 changes of each entity and kind, with how many there are of it.
SELECT
    entity,
    change,
    record_id,
    record_name,
    field_name,
    value_before,
    value_after,
    COUNT(*) OVER (PARTITION BY entity, change) AS total_rows
FROM rpt_changes
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY entity, change ORDER BY record_id, field_name) <= 100
ORDER BY entity, change, record_id, field_name
