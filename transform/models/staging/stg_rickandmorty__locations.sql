WITH source AS (
    SELECT *
    FROM {{ source('rickandmorty', 'locations') }}
    WHERE {{ is_newest_version('locations') }}
),

renamed AS (
    SELECT
        -- key
        id AS location_id,

        -- links
        {{ ids_from_urls('residents') }} AS resident_ids,

        -- what the API says
        {{ empty_to_null('name') }} AS location_name,
        {{ empty_to_null('type') }} AS location_type,
        {{ empty_to_null('dimension') }} AS dimension,

        -- times
        created AS created_at,
        _sdc_batched_at AS loaded_at,

        -- the load
        _sdc_run_id AS run_id,
        _sdc_table_version AS table_version,
        TO_JSON_STRING(new_fields) AS new_fields
    FROM source
)

SELECT * FROM renamed
