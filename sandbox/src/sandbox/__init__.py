"""Local stand-ins for the API, Cloud Storage and BigQuery."""
