SELECT
    {{ cleaned_characters() }},
    {{ load_columns() }}
FROM {{ newest_version('characters') }}
