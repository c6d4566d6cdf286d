"""How numbers are written in a cell."""

from collections.abc import Mapping


def seconds_text(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004


def named(values: Mapping[str, float], unit: str, digits: int = 0) -> str:
    """Several values of one kind: `webserver 150, daemon 120 MB`."""
    return ", ".join(f"{name} {value:,.{digits}f}" for name, value in values.items()) + f" {unit}"
