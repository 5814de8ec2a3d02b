{{ after_the_verdict() }}
SELECT
    location_id,
    location_name,
    location_type,
    dimension,
    ARRAY_LENGTH(resident_ids) AS listed_resident_count,
    created_at,
    loaded_at,
    run_id
FROM {{ ref('stg_rickandmorty__locations') }}
