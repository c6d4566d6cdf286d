"""What runs print, captured in their process and kept in the instance's Postgres database."""
