WITH loads AS (
    SELECT
        before.entity,
        before.table_version AS version_before,
        after.table_version AS version_after,
        before.run_id AS run_id_before,
        after.run_id AS run_id_after,
        before.started_at AS loaded_at_before,
        after.started_at AS loaded_at_after
    FROM {{ ref('stg_rickandmorty__loads') }} AS before
    INNER JOIN {{ ref('stg_rickandmorty__loads') }} AS after
        ON before.entity = after.entity AND after.recency = 1
    WHERE before.recency = 2
),

before AS (
    SELECT fields.*
    FROM {{ ref('int_record_fields') }} AS fields
    INNER JOIN loads
        ON fields.entity = loads.entity AND fields.table_version = loads.version_before
),

after AS (
    SELECT fields.*
    FROM {{ ref('int_record_fields') }} AS fields
    INNER JOIN loads
        ON fields.entity = loads.entity AND fields.table_version = loads.version_after
),

compared AS (
    SELECT
        IFNULL(after.entity, before.entity) AS entity,
        IFNULL(after.record_id, before.record_id) AS record_id,
        IFNULL(after.record_name, before.record_name) AS record_name,
        IFNULL(after.field_name, before.field_name) AS field_name,
        CASE
            WHEN before.record_id IS NULL THEN 'added'
            WHEN after.record_id IS NULL THEN 'removed'
            WHEN before.value IS DISTINCT FROM after.value THEN 'changed'
        END AS change,
        before.value AS value_before,
        after.value AS value_after
    FROM before
    FULL JOIN after
        ON
            before.entity = after.entity
            AND before.record_id = after.record_id
            AND before.field_name = after.field_name
)

SELECT
    compared.entity,
    compared.record_id,
    compared.record_name,
    compared.change,
    IF(compared.change = 'changed', compared.field_name, NULL) AS field_name,
    IF(compared.change = 'changed', compared.value_before, NULL) AS value_before,
    IF(compared.change = 'changed', compared.value_after, NULL) AS value_after,
    loads.run_id_before,
    loads.run_id_after,
    loads.loaded_at_before,
    loads.loaded_at_after
FROM compared
INNER JOIN loads
    ON compared.entity = loads.entity
-- A record that came or went is one row: every entity has a name.
WHERE compared.change = 'changed' OR (compared.change IS NOT NULL AND compared.field_name = 'name')
