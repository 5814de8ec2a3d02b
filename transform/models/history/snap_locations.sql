{{ after_the_verdict() }}
{{ history(
    'locations', 'location_id', cleaned_locations(),
    columns=['location_name', 'location_type', 'dimension', 'created_at'],
    lists=['resident_ids']
) }}
