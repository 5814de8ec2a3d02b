"""`python -m tap_rickandmorty`: the tap's command line."""

from tap_rickandmorty.tap import main

main()
