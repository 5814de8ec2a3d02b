{% snapshot snap_episodes %}
    {{ config(
        unique_key='episode_id',
        check_cols=[
            'episode_name', 'episode_code', 'season_number', 'episode_number', 'air_date', 'created_at',
            'character_ids'
        ]
    ) }}

    SELECT
        episode_id,
        episode_name,
        episode_code,
        season_number,
        episode_number,
        air_date,
        created_at,
        -- Arrays cannot be compared: as text.
        TO_JSON_STRING(character_ids) AS character_ids,
        loaded_at,
        run_id
    FROM {{ ref('stg_rickandmorty__episodes') }}
{% endsnapshot %}
