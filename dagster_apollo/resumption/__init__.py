"""How runs that the platform ended are found, judged and resumed (docs/reliability.md)."""
