"""The peer: the same dbt project, orchestrated the way dagster-dbt's documentation says."""
