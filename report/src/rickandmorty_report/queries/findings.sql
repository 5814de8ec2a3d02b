-- 50 findings of each rule, severity and entity, with how many there are of it.
SELECT
    rule,
    severity,
    entity,
    record_id,
    record_name,
    detail,
    COUNT(*) OVER (PARTITION BY rule, severity, entity) AS total_rows
FROM rpt_data_quality
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY rule, severity, entity ORDER BY record_id, detail) <= 50
ORDER BY rule, entity, record_id, detail
