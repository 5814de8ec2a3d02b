"""What tests, scripts and benchmarks share: a running sandbox, Meltano, tap and target as processes, faults."""
