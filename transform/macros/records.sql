{% macro cleaned_characters() %}
    -- key
    landing.id AS character_id,

    -- links
    {{ id_from_url('landing.origin.url') }} AS origin_location_id,
    {{ id_from_url('landing.location.url') }} AS last_location_id,
    {{ ids_from_urls('landing.episode') }} AS episode_ids,
    {{ unreadable_address_count('landing.episode', ['landing.origin.url', 'landing.location.url']) }} AS unreadable_address_count,

    -- what the API says
    {{ empty_to_null('landing.name') }} AS character_name,
    {{ empty_to_null('landing.status') }} AS status,
    {{ empty_to_null('landing.species') }} AS species,
    {{ empty_to_null('landing.type') }} AS character_type,
    {{ empty_to_null('landing.gender') }} AS gender,
    {{ empty_to_null('landing.origin.name') }} AS origin_name,
    {{ empty_to_null('landing.location.name') }} AS last_location_name,
    {{ empty_to_null('landing.image') }} AS image_url,
    landing.created AS created_at
{% endmacro %}

{% macro cleaned_episodes() %}
    -- key
    landing.id AS episode_id,

    -- links
    {{ ids_from_urls('landing.characters') }} AS character_ids,
    {{ unreadable_address_count('landing.characters') }} AS unreadable_address_count,

    -- what the API says
    {{ empty_to_null('landing.name') }} AS episode_name,
    {{ empty_to_null('landing.episode') }} AS episode_code,
    SAFE_CAST(REGEXP_EXTRACT(landing.episode, r'^S([0-9]+)E[0-9]+$') AS INT64) AS season_number,
    SAFE_CAST(REGEXP_EXTRACT(landing.episode, r'^S[0-9]+E([0-9]+)$') AS INT64) AS episode_number,
    SAFE.PARSE_DATE('%B %d, %Y', {{ empty_to_null('landing.air_date') }}) AS air_date,
    landing.created AS created_at
{% endmacro %}

{% macro cleaned_locations() %}
    -- key
    landing.id AS location_id,

    -- links
    {{ ids_from_urls('landing.residents') }} AS resident_ids,
    {{ unreadable_address_count('landing.residents') }} AS unreadable_address_count,

    -- what the API says
    {{ empty_to_null('landing.name') }} AS location_name,
    {{ empty_to_null('landing.type') }} AS location_type,
    {{ empty_to_null('landing.dimension') }} AS dimension,
    landing.created AS created_at
{% endmacro %}

{% macro load_columns() %}
    -- the load
    landing._sdc_batched_at AS loaded_at,
    landing._sdc_run_id AS run_id,
    landing._sdc_table_version AS table_version,
    {{ json_text('landing.new_fields') }} AS new_fields
{% endmacro %}
