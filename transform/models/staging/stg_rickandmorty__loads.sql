SELECT
    -- key
    ledger.run_id,
    ledger.stream AS entity,
    ledger.table_version,

    -- the load
    ledger.method AS load_method,
    ledger.replication,
    ledger.proof,
    ledger.source,
    ledger.extractor,
    ledger.rows AS row_count,
    ledger.bytes AS byte_count,
    ledger.parts AS part_count,
    ledger.job_id,
    ledger.schema_fingerprint,

    -- times
    ledger.started_at,
    ledger.finished_at,

    -- taken back
    ledger.retracted_at,
    ledger.retraction_reason
FROM {{ source('rickandmorty', '_loads') }} AS ledger
