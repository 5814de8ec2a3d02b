WITH
{% for entity in compared_entities() %}
    {% set versions = build_versions(entity, 2) %}
    {# One version alone changes nothing, and what another run than the newest changed is history. #}
    {% set versions = versions if versions | length == 2 and versions[0].is_of_newest_run else [] %}
    {# Overwrite and upsert have replaced rows of the version before. #}
    {% set versions = versions if versions and versions[0].load_method == 'append-only' else [] %}
    {% for side, version in {'before': versions[1:], 'after': versions[:1]}.items() %}
        {{ entity }}_{{ side }} AS (
            SELECT * FROM {{ source('rickandmorty', entity) }}
            WHERE {{ of_versions(version) }}
            -- An id that a version has twice: the last of its records.
            QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY _sdc_sequence DESC) = 1
        ),
    {% endfor %}

    {{ entity }} AS (
        SELECT
            '{{ entity }}' AS entity,
            IFNULL(after.id, before.id) AS record_id,
            IFNULL(after.name, before.name) AS record_name,
            CASE
                WHEN before.id IS NULL THEN 'added'
                WHEN after.id IS NULL THEN 'removed'
                ELSE 'changed'
            END AS change,
            [
                {% for field, value in tracked_fields(entity).items() %}
                    STRUCT(
                        '{{ field }}' AS field_name,
                        {{ value.replace('{side}', 'before') }} AS value_before,
                        {{ value.replace('{side}', 'after') }} AS value_after
                    ){{ '' if loop.last else ',' }}
                {% endfor %}
            ] AS fields
        FROM {{ entity }}_before AS before
        FULL JOIN {{ entity }}_after AS after
            ON before.id = after.id
        {% if versions and versions[1].row_count %}
            -- Rows that have left the landing table are no records that were added since.
            WHERE EXISTS (SELECT 1 FROM {{ entity }}_before)
        {% endif %}
    ){{ '' if loop.last else ',' }}
{% endfor %}

{% for entity in compared_entities() %}
    SELECT
        records.entity,
        records.record_id,
        records.record_name,
        records.change,
        IF(records.change = 'changed', field.field_name, NULL) AS field_name,
        IF(records.change = 'changed', field.value_before, NULL) AS value_before,
        IF(records.change = 'changed', field.value_after, NULL) AS value_after
    FROM {{ entity }} AS records
    CROSS JOIN UNNEST(records.fields) AS field
    WHERE
        (records.change = 'changed' AND field.value_before IS DISTINCT FROM field.value_after)
        -- A record that came or went is one row: every entity has a name.
        OR (records.change != 'changed' AND field.field_name = 'name')
    {% if not loop.last %}UNION ALL{% endif %}
{% endfor %}
