"""Run the tap."""

from tap_template.tap import TapTemplate

TapTemplate.cli()
