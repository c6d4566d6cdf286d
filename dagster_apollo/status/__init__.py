"""The state of an instance at a glance: for people, for monitors, for Prometheus."""
