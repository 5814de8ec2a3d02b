"""`python -m meltano_job`."""

from meltano_job.job import main

if __name__ == "__main__":
    raise SystemExit(main())
