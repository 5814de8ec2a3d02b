WITH source AS (
    SELECT *
    FROM {{ source('rickandmorty', 'episodes') }}
    WHERE {{ is_newest_version('episodes') }}
),

renamed AS (
    SELECT
        -- key
        id AS episode_id,

        -- links
        {{ ids_from_urls('characters') }} AS character_ids,

        -- what the API says
        {{ empty_to_null('name') }} AS episode_name,
        {{ empty_to_null('episode') }} AS episode_code,
        SAFE_CAST(REGEXP_EXTRACT(episode, r'^S([0-9]+)E[0-9]+$') AS INT64) AS season_number,
        SAFE_CAST(REGEXP_EXTRACT(episode, r'^S[0-9]+E([0-9]+)$') AS INT64) AS episode_number,

        -- times
        SAFE.PARSE_DATE('%B %d, %Y', {{ empty_to_null('air_date') }}) AS air_date,
        created AS created_at,
        _sdc_batched_at AS loaded_at,

        -- the load
        _sdc_run_id AS run_id,
        _sdc_table_version AS table_version,
        TO_JSON_STRING(new_fields) AS new_fields
    FROM source
)

SELECT * FROM renamed
