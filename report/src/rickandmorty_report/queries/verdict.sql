-- What each check of the newest build came to, the worst first: 200 at most.
SELECT
    entity,
    check_name,
    status,
    message,
    decided_at
FROM rpt_verdict
WHERE TRUE
QUALIFY decided_at = MAX(decided_at) OVER ()
ORDER BY CASE status WHEN 'fail' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, check_name, entity
LIMIT 200
