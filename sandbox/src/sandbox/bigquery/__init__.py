"""The local BigQuery: bqemulator, patched where it accepts what the real one refuses and this project relies on."""
