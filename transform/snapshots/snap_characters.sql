{% snapshot snap_characters %}
    {{ config(
        unique_key='character_id',
        check_cols=[
            'character_name', 'status', 'species', 'character_type', 'gender', 'origin_location_id',
            'origin_name', 'last_location_id', 'last_location_name', 'image_url', 'created_at', 'episode_ids'
        ]
    ) }}

    SELECT
        character_id,
        character_name,
        status,
        species,
        character_type,
        gender,
        origin_location_id,
        origin_name,
        last_location_id,
        last_location_name,
        image_url,
        created_at,
        -- Arrays cannot be compared: as text.
        TO_JSON_STRING(episode_ids) AS episode_ids,
        loaded_at,
        run_id
    FROM {{ ref('stg_rickandmorty__characters') }}
{% endsnapshot %}
