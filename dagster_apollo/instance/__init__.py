"""What the Dagster instance is made of."""
