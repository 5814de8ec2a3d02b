{#- An empty string is the API's way to say nothing. -#}
{% macro cleaned_characters() %}
    -- key
    landing.id AS character_id,

    -- links
    {{ id_from_url('landing.origin.url') }} AS origin_location_id,
    {{ id_from_url('landing.location.url') }} AS last_location_id,
    {{ ids_from_urls('landing.episode') }} AS episode_ids,
    {{ unreadable_address_count('landing.episode', ['landing.origin.url', 'landing.location.url']) }} AS unreadable_address_count,

    -- what the API says
    NULLIF(landing.name, '') AS character_name,
    NULLIF(landing.status, '') AS status,
    NULLIF(landing.species, '') AS species,
    NULLIF(landing.type, '') AS character_type,
    NULLIF(landing.gender, '') AS gender,
    NULLIF(landing.origin.name, '') AS origin_name,
    NULLIF(landing.location.name, '') AS last_location_name,
    NULLIF(landing.image, '') AS image_url,
    landing.created AS created_at
{% endmacro %}

{% macro cleaned_episodes() %}
    -- key
    landing.id AS episode_id,

    -- links
    {{ ids_from_urls('landing.characters') }} AS character_ids,
    {{ unreadable_address_count('landing.characters') }} AS unreadable_address_count,

    -- what the API says
    NULLIF(landing.name, '') AS episode_name,
    NULLIF(landing.episode, '') AS episode_code,
    SAFE_CAST(REGEXP_EXTRACT(landing.episode, r'^S([0-9]+)E[0-9]+$') AS INT64) AS season_number,
    SAFE_CAST(REGEXP_EXTRACT(landing.episode, r'^S[0-9]+E([0-9]+)$') AS INT64) AS episode_number,
    SAFE.PARSE_DATE('%B %d, %Y', NULLIF(landing.air_date, '')) AS air_date,
    landing.created AS created_at
{% endmacro %}

{% macro cleaned_locations() %}
    -- key
    landing.id AS location_id,

    -- links
    {{ ids_from_urls('landing.residents') }} AS resident_ids,
    {{ unreadable_address_count('landing.residents') }} AS unreadable_address_count,

    -- what the API says
    NULLIF(landing.name, '') AS location_name,
    NULLIF(landing.type, '') AS location_type,
    NULLIF(landing.dimension, '') AS dimension,
    landing.created AS created_at
{% endmacro %}

{% macro load_columns() %}
    -- the load
    landing._sdc_batched_at AS loaded_at,
    landing._sdc_run_id AS run_id,
    landing._sdc_table_version AS table_version,
    {{ json_text('landing.new_fields') }} AS new_fields
{% endmacro %}
