{% do refuse_empty() %}
{% set drop_percent = whole_number('verdict_drop_percent', 100) %}
{% set stale_hours = whole_number('verdict_stale_hours', 87600) %}
{% set as_of = var('as_of', none) or env_var('DBT_AS_OF', '') %}
{% set counted_findings = [
    ('findings_error', 'CAST(NULL AS STRING)', 'error_count', 'the severity error'),
    ('findings_warning', 'CAST(NULL AS STRING)', 'warning_count', 'the severity warning'),
    ('status_values', "'characters'", 'unknown_status_count', 'the rule unknown_status_value'),
] %}

WITH loaded_last AS (
    SELECT
        entity,
        table_version,
        run_id,
        started_at,
        finished_at
    FROM {{ ref('int_build_versions') }}
    -- By BigQuery's clock: started_at is by the clock of the machine that ran the target.
    QUALIFY ROW_NUMBER() OVER (PARTITION BY entity ORDER BY finished_at DESC, version_number DESC) = 1
),

compared AS (
    SELECT
        landed.entity,
        landed.job,
        landed.landed_row_count,
        landed.new_field_count,
        newest.table_version,
        newest.row_count,
        newest.proof,
        newest.source,
        IFNULL(newest.replication, 'full') = 'incremental' AS is_delta,
        IFNULL(newest.finished_at < loaded_last.finished_at, FALSE) AS is_before_another,
        IFNULL(loaded_last.started_at < newest.finished_at, FALSE) AS is_beside_another,
        IFNULL(
            GREATEST(newest.started_at, newest.finished_at) > TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 10 MINUTE),
            FALSE
        ) AS is_in_the_future,
        CONCAT('version ', CAST(newest.table_version AS STRING), ' of run ', newest.run_id) AS newest_version,
        CONCAT('version ', CAST(loaded_last.table_version AS STRING), ' of run ', loaded_last.run_id) AS last_version,
        -- Rounded up: an hour that has begun counts.
        DIV(TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), newest.finished_at, SECOND) + 3599, 3600) AS age,
        IF(
            IFNULL(newest.replication, 'full') = 'incremental', NULL, IFNULL(landed.known_row_count, baseline.row_count)
        ) AS row_count_before,
        baseline.source AS source_before,
        newest.finished_at AS loaded_until,
        IFNULL(newest.accepted_until, baseline.finished_at) AS accepted_until
    FROM {{ ref('int_landed') }} AS landed
    LEFT JOIN {{ ref('int_build_versions') }} AS newest
        ON landed.entity = newest.entity AND newest.recency = 1
    LEFT JOIN {{ ref('int_build_versions') }} AS baseline
        ON landed.entity = baseline.entity AND baseline.is_baseline
    LEFT JOIN loaded_last
        ON landed.entity = loaded_last.entity
),

found AS (
    SELECT
        COUNTIF(severity = 'error') AS error_count,
        COUNTIF(severity = 'warning') AS warning_count,
        COUNTIF(rule = 'unknown_status_value') AS unknown_status_count
    FROM {{ ref('int_findings') }}
),

checked AS (
    SELECT
        compared.entity,
        asked.check_name,
        asked.policy,
        asked.holds,
        IFNULL(asked.expected, 'nothing in the ledger') AS expected,
        IFNULL(asked.got, 'nothing in the ledger') AS got,
        asked.remedy
    FROM compared
    CROSS JOIN UNNEST([
        STRUCT(
            'missing' AS check_name,
            '{{ policy('missing') }}' AS policy,
            compared.table_version IS NOT NULL AS holds,
            'a loaded version' AS expected,
            IFNULL(CONCAT('version ', CAST(compared.table_version AS STRING)), 'none') AS got,
            CONCAT('run the job that loads it: meltano run ', compared.job) AS remedy
        ),
        STRUCT(
            'empty' AS check_name,
            '{{ policy('empty') }}' AS policy,
            compared.row_count > 0 OR compared.is_delta AS holds,
            'at least 1 record' AS expected,
            CAST(compared.row_count AS STRING) AS got,
            'look at what the source answers, and run again' AS remedy
        ),
        STRUCT(
            'order' AS check_name,
            '{{ policy('order') }}' AS policy,
            -- Deltas are read in the order of their loads, whatever their numbers.
            compared.is_delta OR NOT (compared.is_before_another OR compared.is_in_the_future) AS holds,
            CONCAT(compared.last_version, ', the last to be loaded') AS expected,
            CONCAT(
                compared.newest_version,
                CASE
                    WHEN compared.is_in_the_future THEN ', which began in the future'
                    WHEN compared.is_before_another THEN ', the newest by number, loaded before it'
                    ELSE ''
                END
            ) AS got,
            CASE
                WHEN compared.is_in_the_future
                    THEN 'its clock was ahead, and it hides every later run: retract it (docs/operations.md), run again'
                WHEN compared.is_beside_another
                    THEN CONCAT(
                        'two runs at once, or the clock of the last was behind: retract nothing; ',
                        'run again when both have ended, or show the newest by number with DBT_VERDICT_ORDER=warn'
                    )
                ELSE CONCAT(
                    'retract the newest by number if its clock was ahead (docs/operations.md), or run again; ',
                    'if an older version was loaded on purpose, DBT_VERDICT_ORDER=warn for this build'
                )
            END AS remedy
        ),
        STRUCT(
            'counts' AS check_name,
            '{{ policy('counts') }}' AS policy,
            compared.row_count = compared.landed_row_count AS holds,
            CONCAT('a row count of ', CAST(compared.row_count AS STRING), ', as in the ledger') AS expected,
            CONCAT(CAST(compared.landed_row_count AS STRING), ' in the landing table') AS got,
            'retract the version (docs/operations.md), and run again' AS remedy
        ),
        STRUCT(
            'proof' AS check_name,
            '{{ policy('proof') }}' AS policy,
            IFNULL(compared.proof, '') IN ('tap', 'state') AS holds,
            'tap or state' AS expected,
            IFNULL(compared.proof, 'none') AS got,
            'the end of the input does not prove that the version is whole' AS remedy
        ),
        STRUCT(
            'drop' AS check_name,
            '{{ policy('drop') }}' AS policy,
            compared.row_count * 100 >= IFNULL(compared.row_count_before, 0) * (100 - {{ drop_percent }}) AS holds,
            IFNULL(
                CONCAT('at most {{ drop_percent }} % fewer records than ', CAST(compared.row_count_before AS STRING)),
                'any number of a first load or a delta'
            ) AS expected,
            CAST(compared.row_count AS STRING) AS got,
            'retract the version (docs/operations.md), or accept it once with DBT_VERDICT_DROP=warn' AS remedy
        ),
        STRUCT(
            'drift' AS check_name,
            '{{ policy('drift') }}' AS policy,
            compared.new_field_count = 0 AS holds,
            'no field that the schema does not know' AS expected,
            CONCAT('new fields in ', CAST(compared.new_field_count AS STRING), ' of its records') AS got,
            'rpt_data_quality lists them by the rule new_field; add them to the schema of the tap' AS remedy
        ),
        STRUCT(
            'source' AS check_name,
            '{{ policy('source') }}' AS policy,
            compared.source_before IS NULL OR IFNULL(compared.source, '') = compared.source_before AS holds,
            IFNULL(compared.source_before, 'any source') AS expected,
            IFNULL(compared.source, 'a source without a name') AS got,
            'retract the version (docs/operations.md), and give each source its own DATASET_PREFIX' AS remedy
        ),
        STRUCT(
            'freshness' AS check_name,
            -- An older state is asked for: it says so, and never stops the build.
            '{{ 'warn' if as_of else policy('freshness') }}' AS policy,
            {{ 'FALSE' if as_of else 'compared.age <= ' ~ stale_hours }} AS holds,
            {{ literal('the newest version, not that of when run ' ~ as_of ~ ' had ended' if as_of
                else 'loaded at most ' ~ stale_hours ~ ' h ago') }} AS expected,
            CONCAT('loaded ', CAST(compared.age AS STRING), ' h ago') AS got,
            '{{ 'build without DBT_AS_OF to show the newest' if as_of
                else 'look at the orchestrator: did runs fail, is the schedule on?' }}' AS remedy
        )
    ]) AS asked
    -- What is not there has no more to say.
    WHERE compared.table_version IS NOT NULL OR asked.check_name = 'missing'

    UNION ALL

    SELECT
        CAST(NULL AS STRING) AS entity,
        'source' AS check_name,
        '{{ policy('source') }}' AS policy,
        COUNT(DISTINCT source) <= 1 AS holds,
        'one source' AS expected,
        IFNULL(STRING_AGG(DISTINCT source, ', ' ORDER BY source), 'none with a name') AS got,
        'give each source its own DATASET_PREFIX' AS remedy
    FROM compared

    {% for check_name, entity, finding_count, listed_by in counted_findings %}
        UNION ALL

        SELECT
            {{ entity }} AS entity,
            '{{ check_name }}' AS check_name,
            '{{ policy(check_name) }}' AS policy,
            {{ finding_count }} = 0 AS holds,
            'none' AS expected,
            CAST({{ finding_count }} AS STRING) AS got,
            'rpt_data_quality lists them by {{ listed_by }}' AS remedy
        FROM found
    {% endfor %}
),

build AS (
    SELECT
        MAX(IF(is_of_newest_run, run_id, NULL)) AS run_id,
        MAX(build_id) AS build_id
    FROM {{ ref('int_build_versions') }}
),

decided AS (
    SELECT
        *,
        IF(holds, 'pass', policy) AS status
    FROM checked
)

SELECT
    IFNULL(build.run_id, 'none') AS run_id,
    decided.entity,
    decided.check_name,
    decided.status,
    decided.expected,
    decided.got,
    CONCAT(
        IFNULL(CONCAT(decided.entity, ': '), ''), decided.check_name,
        ': expected ', decided.expected, ', got ', decided.got,
        IF(decided.holds, '', CONCAT('; ', decided.remedy))
    ) AS message,
    CURRENT_TIMESTAMP() AS decided_at,
    -- An older state is looked at, not accepted.
    IF(
        {{ 'FALSE' if as_of else 'TRUE' }} AND SUM(IF(decided.status = 'fail', 1, 0)) OVER () = 0,
        compared.loaded_until, compared.accepted_until
    ) AS accepted_until,
    build.build_id
FROM decided
CROSS JOIN build
LEFT JOIN compared
    ON decided.entity = compared.entity
