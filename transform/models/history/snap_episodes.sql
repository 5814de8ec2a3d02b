{{ after_the_verdict() }}
{{ history(
    'episodes', 'episode_id', cleaned_episodes(),
    columns=['episode_name', 'episode_code', 'season_number', 'episode_number', 'air_date', 'created_at'],
    lists=['character_ids']
) }}
