{% do refuse_what_was_never_loaded() %}
SELECT
    -- key
    ledger.run_id,
    ledger.stream AS entity,
    ledger.table_version,

    -- the load
    MAX(ledger.method) AS load_method,
    MAX(ledger.replication) AS replication,
    -- The weakest, which is the first by name too.
    MIN(ledger.proof) AS proof,
    MAX(ledger.source) AS source,
    MAX(ledger.extractor) AS extractor,
    CAST(SUM(ledger.rows) AS INT64) AS row_count,
    CAST(SUM(ledger.bytes) AS INT64) AS byte_count,
    CAST(SUM(ledger.parts) AS INT64) AS part_count,
    STRING_AGG(ledger.job_id, ' ' ORDER BY ledger.job_id) AS job_id,
    MAX(ledger.schema_fingerprint) AS schema_fingerprint,

    -- times
    MIN(ledger.started_at) AS started_at,
    MAX(ledger.finished_at) AS finished_at,

    -- taken back
    MAX(ledger.retracted_at) AS retracted_at,
    MAX(ledger.retraction_reason) AS retraction_reason
FROM {{ source('rickandmorty', '_loads') }} AS ledger
-- A run may load a version by several jobs.
GROUP BY ledger.run_id, ledger.stream, ledger.table_version
