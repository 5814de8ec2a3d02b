"""`python -m rickandmorty_report`: the page's command line."""

from rickandmorty_report.cli import main

raise SystemExit(main())
