"""What orchestration costs: Apollo, stock Dagster and bare dbt side by side, on real parts."""
