"""From a tenant's dbt project to Dagster's assets, and from dbt's events to Dagster's."""
