"""The rows of the table, and the table as Markdown and as JSON."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"
_HEADER: Final = (
    *("what", "size", "reference", "stock Dagster", "Apollo"),
    *("result", "reach", "reached"),
)
_NONE: Final = "-"


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        key: its name on the command line; several rows may come of one measurement.
        what: what is measured.
        size: of which project.
        reference: what bare dbt, or a bare interpreter, took.
        stock: what stock Dagster took.
        apollo: what Apollo took.
        result: Apollo as a ratio, or the reason why it was not measured.
        reach: what is to be reached.
        reached: whether it is; None where nothing is to be reached, or nothing was measured.
        samples: all that was measured, in the order in which it was.
        taken: when, of which commit, under which load.
    """

    key: str
    what: str
    size: str = _NONE
    reference: str = _NONE
    stock: str = _NONE
    apollo: str = _NONE
    result: str = _NONE
    reach: str = _NONE
    reached: bool | None = None
    samples: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    taken: Mapping[str, str] = field(default_factory=dict)


def merge(old: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """The rows of both, the new ones in place of those with the same key."""
    keys = {row.key for row in new}
    return [row for row in old if row.key not in keys] + list(new)


def missing(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """Rows for the measurements of which there is no result."""
    there = {row.key for row in rows}
    reason = "no run of the benchmarks has come to the end of it yet"
    return [Row(name, f"`--only {name}`", result=reason) for name in names if name not in there]


def in_order(rows: Iterable[Row], keys: Sequence[str]) -> list[Row]:
    """Rows in the order of their keys."""
    return sorted(rows, key=lambda row: keys.index(row.key) if row.key in keys else len(keys))


def to_markdown(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """The table, with what it was measured on above it."""
    lines = [f"{name}: {value}  " for name, value in about.items()]
    lines += ["", _line(_HEADER), _line(["---"] * len(_HEADER))]
    for row in rows:
        cells = (row.what, row.size, row.reference, row.stock, row.apollo, row.result, row.reach)
        lines.append(_line([*cells, _reached(row)]))
    return "\n".join(lines) + "\n"


def to_json(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """Everything, the single samples included."""
    return json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"


def from_json(text: str) -> list[Row]:
    """The rows of a file that `to_json` made."""
    return [Row(**row) for row in json.loads(text)["rows"]]


def put_between_markers(document: str, table: str) -> str:
    """A document with the table between its markers.

    Raises:
        ValueError: it has no markers, or not just one pair.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"There is to be one pair of {BEGIN} and {END}, each on a line.")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table}\n{END}", document)


class Taken(Protocol):
    """What knows when it was measured."""

    @property
    def taken(self) -> Mapping[str, str]:
        """When, of which commit, under which load."""


def taken_text(rows: Iterable[Taken]) -> str:
    """When the rows were taken, of which commits, and how busy the machine was."""
    moments = [row.taken for row in rows if row.taken]
    if not moments:
        return "nothing yet"
    dates, commits, loads = (
        sorted({moment[name] for moment in moments}, key=key)
        for name, key in (("date", str), ("commit", str), ("load", float))
    )
    return f"{_span(dates)}, commit {', '.join(commits)}, load {_span(loads)} before each row"


def _span(values: Sequence[str]) -> str:
    return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def _reached(row: Row) -> str:
    if row.reached is not None:
        return "yes" if row.reached else "**no**"
    return _NONE if row.samples else "not measured yet"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
