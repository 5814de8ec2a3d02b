{{ after_the_verdict() }}
{{ history(
    'characters', 'character_id', cleaned_characters(),
    columns=[
        'character_name', 'status', 'species', 'character_type', 'gender', 'origin_location_id', 'origin_name',
        'last_location_id', 'last_location_name', 'image_url', 'created_at'
    ],
    lists=['episode_ids']
) }}
