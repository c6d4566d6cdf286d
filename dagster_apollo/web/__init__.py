"""The authenticated front door: Dagster's webserver behind sign-in, roles and an audit log."""
