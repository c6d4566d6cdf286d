"""Others that orchestrate dbt, each in an environment of its own: nothing of it is Apollo's."""
