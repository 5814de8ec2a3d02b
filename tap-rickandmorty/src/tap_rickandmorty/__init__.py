"""Singer tap for the Rick and Morty API."""
