{% set crowd_size = whole_number('crowd_size', 100000) %}
-- What a record of one entity does not say, or says oddly: rule, severity, entity, condition, detail.
{% set oddities = [
    ('unknown_origin', 'info', 'characters', 'origin_location_id IS NULL', "IFNULL(origin_name, 'no name')"),
    ('unknown_location', 'info', 'characters', 'last_location_id IS NULL', "IFNULL(last_location_name, 'no name')"),
    ('empty_type', 'info', 'characters', 'character_type IS NULL', "'no type'"),
    ('unknown_status_value', 'warning', 'characters',
        "IFNULL(status, '') NOT IN ('Alive', 'Dead', 'unknown')", "IFNULL(status, 'no status')"),
    ('unknown_gender_value', 'warning', 'characters',
        "IFNULL(gender, '') NOT IN ('Female', 'Male', 'Genderless', 'unknown')", "IFNULL(gender, 'no gender')"),
    ('empty_type', 'info', 'locations', 'location_type IS NULL', "'no type'"),
    ('empty_dimension', 'info', 'locations', 'dimension IS NULL', "'no dimension'"),
    ('location_without_residents', 'info', 'locations', 'ARRAY_LENGTH(resident_ids) = 0', "'lists no residents'"),
    ('malformed_code', 'error', 'episodes', 'season_number IS NULL OR episode_number IS NULL', "IFNULL(episode_code, 'no code')"),
    ('malformed_air_date', 'error', 'episodes', 'air_date IS NULL', "'no date such as December 2, 2013'"),
] %}

WITH records AS (
    {% for entity in oddities | map(attribute=2) | unique %}
        {% set singular = var('entities')[entity].singular %}
        SELECT
            '{{ entity }}' AS entity,
            {{ singular }}_id AS record_id,
            {{ singular }}_name AS record_name,
            new_fields,
            unreadable_address_count
        FROM {{ ref('stg_rickandmorty__' ~ entity) }}
        {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
),

-- Every link from the side that lists it, and whether the other side lists it too.
links AS (
    SELECT
        CONCAT('asymmetric_', link) AS one_sided_rule,
        'characters' AS entity,
        character_id AS record_id,
        IF(link = 'appearance', 'episodes', 'locations') AS linked_entity,
        linked_id,
        NOT listed_by_linked AS is_asymmetric
    FROM {{ ref('int_links') }}
    WHERE listed_by_character
    UNION ALL
    SELECT
        CONCAT('asymmetric_', link) AS one_sided_rule,
        IF(link = 'appearance', 'episodes', 'locations') AS entity,
        linked_id AS record_id,
        'characters' AS linked_entity,
        character_id AS linked_id,
        NOT listed_by_character AS is_asymmetric
    FROM {{ ref('int_links') }}
    WHERE listed_by_linked
    UNION ALL
    -- Locations do not list who comes from there.
    SELECT
        'asymmetric_origin' AS one_sided_rule,
        'characters' AS entity,
        character_id AS record_id,
        'locations' AS linked_entity,
        origin_location_id AS linked_id,
        FALSE AS is_asymmetric
    FROM {{ ref('stg_rickandmorty__characters') }}
    WHERE origin_location_id IS NOT NULL
),

mentions AS (
    SELECT
        origin_location_id AS location_id,
        character_id,
        origin_name AS mentioned_name
    FROM {{ ref('stg_rickandmorty__characters') }}
    UNION DISTINCT
    SELECT
        last_location_id AS location_id,
        character_id,
        last_location_name AS mentioned_name
    FROM {{ ref('stg_rickandmorty__characters') }}
),

findings AS (
    SELECT
        one_sided_rule AS rule,
        'warning' AS severity,
        entity,
        record_id,
        FORMAT('lists %s %d, which does not list it', linked_entity, linked_id) AS detail
    FROM links
    WHERE is_asymmetric

    UNION ALL

    SELECT
        'missing_record' AS rule,
        'error' AS severity,
        links.entity,
        links.record_id,
        FORMAT('leads to %s %d, which is not there', links.linked_entity, links.linked_id) AS detail
    FROM links
    LEFT JOIN records
        ON links.linked_entity = records.entity AND links.linked_id = records.record_id
    WHERE records.record_id IS NULL
    -- One place may be a character's origin and last location.
    GROUP BY links.entity, links.record_id, links.linked_entity, links.linked_id

    {% for entity in oddities | map(attribute=2) | unique %}
        UNION ALL

        SELECT
            asked.rule,
            asked.severity,
            '{{ entity }}' AS entity,
            records.{{ var('entities')[entity].singular }}_id AS record_id,
            asked.detail
        FROM {{ ref('stg_rickandmorty__' ~ entity) }} AS records
        CROSS JOIN UNNEST([
            {% for rule, severity, _, condition, detail in oddities | selectattr(2, 'equalto', entity) %}
                STRUCT(
                    '{{ rule }}' AS rule,
                    '{{ severity }}' AS severity,
                    {{ condition }} AS is_odd,
                    {{ detail }} AS detail
                )
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        ]) AS asked
        WHERE asked.is_odd
    {% endfor %}

    UNION ALL

    SELECT
        asked.rule,
        'warning' AS severity,
        records.entity,
        records.record_id,
        asked.detail
    FROM records
    CROSS JOIN UNNEST([
        STRUCT('empty_name' AS rule, records.record_name IS NULL AS is_odd, 'no name' AS detail),
        STRUCT(
            'unreadable_address' AS rule,
            records.unreadable_address_count > 0 AS is_odd,
            FORMAT('addresses that end in no id: %d', records.unreadable_address_count) AS detail
        ),
        STRUCT('new_field' AS rule, records.new_fields IS NOT NULL AS is_odd, records.new_fields AS detail)
    ]) AS asked
    WHERE asked.is_odd

    UNION ALL

    SELECT
        'names_disagree' AS rule,
        'warning' AS severity,
        'locations' AS entity,
        locations.location_id AS record_id,
        FORMAT(
            'by %d of the characters called %s', COUNT(DISTINCT mentions.character_id), mentions.mentioned_name
        ) AS detail
    FROM {{ ref('stg_rickandmorty__locations') }} AS locations
    INNER JOIN mentions
        ON locations.location_id = mentions.location_id
    WHERE mentions.mentioned_name IS NOT NULL AND mentions.mentioned_name IS DISTINCT FROM locations.location_name
    GROUP BY locations.location_id, mentions.mentioned_name

    UNION ALL

    SELECT
        'duplicate_name' AS rule,
        'info' AS severity,
        entity,
        record_id,
        FORMAT('%d %s have this name', COUNT(*) OVER (PARTITION BY entity, record_name), entity) AS detail
    FROM records
    WHERE record_name IS NOT NULL
    QUALIFY COUNT(*) OVER (PARTITION BY entity, record_name) > 1

    UNION ALL

    SELECT
        'crowded_episode' AS rule,
        'info' AS severity,
        'episodes' AS entity,
        episodes.episode_id AS record_id,
        FORMAT('%d characters, more than {{ crowd_size }}: left out of rpt_character_pairs', COUNT(*)) AS detail
    FROM {{ ref('stg_rickandmorty__episodes') }} AS episodes
    INNER JOIN {{ ref('int_links') }} AS links
        ON episodes.episode_id = links.linked_id AND links.link = 'appearance'
    GROUP BY episodes.episode_id
    HAVING COUNT(*) > {{ crowd_size }}

    UNION ALL

    SELECT
        'empty_entity' AS rule,
        'error' AS severity,
        entity,
        CAST(NULL AS INT64) AS record_id,
        FORMAT('run %s loaded no record', run_id) AS detail
    FROM {{ ref('int_build_versions') }}
    WHERE recency = 1 AND row_count = 0
)

SELECT
    findings.rule,
    findings.severity,
    findings.entity,
    findings.record_id,
    records.record_name,
    findings.detail
FROM findings
LEFT JOIN records
    ON findings.entity = records.entity AND findings.record_id = records.record_id
