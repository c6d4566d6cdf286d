"""Retention: what of an instance's history goes, and what stays so that the UI says the same."""
