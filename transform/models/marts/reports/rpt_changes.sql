{{ after_the_verdict() }}
SELECT
    changes.entity,
    changes.record_id,
    changes.record_name,
    changes.change,
    changes.field_name,
    changes.value_before,
    changes.value_after,
    before.run_id AS run_id_before,
    after.run_id AS run_id_after,
    before.loaded_at AS loaded_at_before,
    after.loaded_at AS loaded_at_after
FROM {{ ref('int_record_changes') }} AS changes
INNER JOIN {{ ref('int_build_versions') }} AS before
    ON changes.entity = before.entity AND before.recency = 2
INNER JOIN {{ ref('int_build_versions') }} AS after
    ON changes.entity = after.entity AND after.recency = 1
