{{ after_the_verdict() }}
SELECT
    character_id,
    linked_id AS location_id,
    listed_by_character,
    listed_by_linked AS listed_by_location,
    listed_by_character != listed_by_linked AS is_asymmetric,
    (
        SELECT MAX(loaded_at) FROM {{ ref('int_build_versions') }}
        WHERE entity IN ('characters', 'locations') AND recency = 1
    ) AS loaded_at
FROM {{ ref('int_links') }}
WHERE link = 'residency'
