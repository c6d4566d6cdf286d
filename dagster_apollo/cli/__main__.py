"""`python -m dagster_apollo.cli` is `apollo`."""

from dagster_apollo.cli import main

main()
