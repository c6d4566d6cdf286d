"""`apollo`, the command line: one module a command."""

from dagster_apollo.cli.app import main

__all__ = ["main"]
