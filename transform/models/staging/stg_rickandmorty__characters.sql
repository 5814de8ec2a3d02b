WITH source AS (
    SELECT
        landing.id,
        landing.name,
        landing.status,
        landing.species,
        landing.type,
        landing.gender,
        landing.origin.name AS origin_name,
        landing.origin.url AS origin_url,
        landing.location.name AS last_location_name,
        landing.location.url AS last_location_url,
        landing.image,
        landing.episode,
        landing.created,
        landing.new_fields,
        landing._sdc_batched_at,
        landing._sdc_run_id,
        landing._sdc_table_version
    FROM {{ source('rickandmorty', 'characters') }} AS landing
    WHERE {{ is_newest_version('characters') }}
),

renamed AS (
    SELECT
        -- key
        id AS character_id,

        -- links
        {{ id_from_url('origin_url') }} AS origin_location_id,
        {{ id_from_url('last_location_url') }} AS last_location_id,
        {{ ids_from_urls('episode') }} AS episode_ids,

        -- what the API says
        {{ empty_to_null('name') }} AS character_name,
        {{ empty_to_null('status') }} AS status,
        {{ empty_to_null('species') }} AS species,
        {{ empty_to_null('type') }} AS character_type,
        {{ empty_to_null('gender') }} AS gender,
        {{ empty_to_null('origin_name') }} AS origin_name,
        {{ empty_to_null('last_location_name') }} AS last_location_name,
        {{ empty_to_null('image') }} AS image_url,

        -- times
        created AS created_at,
        _sdc_batched_at AS loaded_at,

        -- the load
        _sdc_run_id AS run_id,
        _sdc_table_version AS table_version,
        TO_JSON_STRING(new_fields) AS new_fields
    FROM source
)

SELECT * FROM renamed
