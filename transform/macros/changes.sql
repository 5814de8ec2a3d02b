{% macro tracked_fields() -%}
    {{ return({
        'characters': {
            'name': '{side}.name', 'status': '{side}.status', 'species': '{side}.species', 'type': '{side}.type',
            'gender': '{side}.gender', 'origin.name': '{side}.origin.name', 'origin.url': '{side}.origin.url',
            'location.name': '{side}.location.name', 'location.url': '{side}.location.url',
            'image': '{side}.image', 'episode': last_parts('{side}.episode'),
            'new_fields': json_text('{side}.new_fields'),
        },
        'episodes': {
            'name': '{side}.name', 'air_date': '{side}.air_date', 'episode': '{side}.episode',
            'characters': last_parts('{side}.characters'), 'new_fields': json_text('{side}.new_fields'),
        },
        'locations': {
            'name': '{side}.name', 'type': '{side}.type', 'dimension': '{side}.dimension',
            'residents': last_parts('{side}.residents'), 'new_fields': json_text('{side}.new_fields'),
        },
    }) }}
{%- endmacro %}

{% macro last_parts(column) -%}
    ARRAY_TO_STRING(
        ARRAY(
            SELECT ARRAY_REVERSE(SPLIT(address, '/'))[SAFE_OFFSET(0)]
            FROM UNNEST({{ column }}) AS address WITH OFFSET AS position
            ORDER BY position
        ), ', '
    )
{%- endmacro %}
