"""Singer target for BigQuery through Cloud Storage."""
