SELECT
    {{ cleaned_locations() }},
    {{ load_columns() }}
FROM {{ newest_version('locations') }}
