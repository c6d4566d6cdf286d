"""Apollo: dbt projects orchestrated by Dagster, on Snowflake or an embedded DuckDB.

Data flows one way: environment -> settings -> profiles -> manifest -> assets -> run -> events.
A module imports only what lies before it in that line.
"""

__version__ = "0.1.0"
