SELECT
    {{ cleaned_episodes() }},
    {{ load_columns() }}
FROM {{ newest_version('episodes') }}
