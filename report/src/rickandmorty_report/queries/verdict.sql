-- What each check of the newest build came to, the worst first: 200 at most.
SELECT
    status,
    message
FROM rpt_verdict
ORDER BY CASE status WHEN 'fail' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, check_name, entity
LIMIT 200
