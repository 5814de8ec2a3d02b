{% snapshot snap_locations %}
    {{ config(
        unique_key='location_id',
        check_cols=[
            'location_name', 'location_type', 'dimension', 'created_at', 'resident_ids'
        ]
    ) }}

    SELECT
        location_id,
        location_name,
        location_type,
        dimension,
        created_at,
        -- Arrays cannot be compared: as text.
        TO_JSON_STRING(resident_ids) AS resident_ids,
        loaded_at,
        run_id
    FROM {{ ref('stg_rickandmorty__locations') }}
{% endsnapshot %}
