"""The local BigQuery: bqemulator, mended where it is looser than the real one on what this project relies on."""
