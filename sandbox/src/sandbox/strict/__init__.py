"""Roles, rate limits and sizes as Google documents them, in front of the local Cloud Storage and BigQuery."""
