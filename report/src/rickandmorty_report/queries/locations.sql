-- The 15 locations with the most residents, and the sums over all of them.
SELECT
    location_id,
    location_name,
    location_type,
    dimension,
    resident_count,
    alive_count,
    dead_count,
    unknown_count,
    COUNT(*) OVER () AS total_rows,
    SUM(resident_count) OVER () AS total_count
FROM rpt_location_summary
ORDER BY resident_count DESC, location_id ASC
LIMIT 15
