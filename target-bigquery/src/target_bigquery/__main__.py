"""`python -m target_bigquery`: the target's command line."""

from target_bigquery.target import main

main()
