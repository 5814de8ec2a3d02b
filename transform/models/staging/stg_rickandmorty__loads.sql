WITH source AS (
    SELECT
        ledger.*,
        ledger.rows AS row_count
    FROM {{ source('rickandmorty', '_loads') }} AS ledger
),

renamed AS (
    SELECT
        -- key
        run_id,
        stream AS entity,

        -- the version
        table_version,
        DENSE_RANK() OVER (PARTITION BY stream ORDER BY table_version DESC) AS recency,

        -- the load
        method AS load_method,
        row_count,
        bytes AS byte_count,
        parts AS part_count,
        job_id,
        schema_fingerprint,

        -- times
        started_at,
        finished_at
    FROM source
)

SELECT * FROM renamed
