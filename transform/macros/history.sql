{% macro tracked_fields() -%}
    {{ return({
        'characters': {
            'name': 'name', 'status': 'status', 'species': 'species', 'type': 'type', 'gender': 'gender',
            'origin.name': 'origin.name', 'origin.url': 'origin.url',
            'location.name': 'location.name', 'location.url': 'location.url',
            'image': 'image', 'episode': last_parts('episode'), 'new_fields': 'TO_JSON_STRING(new_fields)',
        },
        'episodes': {
            'name': 'name', 'air_date': 'air_date', 'episode': 'episode', 'characters': last_parts('characters'),
            'new_fields': 'TO_JSON_STRING(new_fields)',
        },
        'locations': {
            'name': 'name', 'type': 'type', 'dimension': 'dimension', 'residents': last_parts('residents'),
            'new_fields': 'TO_JSON_STRING(new_fields)',
        },
    }) }}
{%- endmacro %}

{% macro last_parts(column) -%}
    ARRAY_TO_STRING(
        ARRAY(
            SELECT REGEXP_EXTRACT(address, r'[^/]*$')
            FROM UNNEST({{ column }}) AS address WITH OFFSET AS position
            ORDER BY position
        ), ', '
    )
{%- endmacro %}
