"""The tables of docs/scale.md: a column for each size, a row for each thing that was measured."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

_NOT_YET: Final = "-"


@dataclass(frozen=True)
class Column:
    """All that was measured of one size.

    Args:
        key: its name on the command line, such as `scale-tenants-10`.
        title: the head of the column.
        cells: what was measured, in the order of the rows.
        samples: the numbers behind the cells.
        taken: when, of which commit, under which load.
    """

    key: str
    title: str
    cells: Mapping[str, str]
    samples: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """What the key has in common with those of the same table."""
        return self.key.rpartition("-")[0]


def merge(old: Iterable[Column], new: Column, keys: Sequence[str]) -> list[Column]:
    """The columns of both in the order of the keys, the new one in place of its older self."""
    columns = {**{it.key: it for it in old}, new.key: new}
    return [columns[key] for key in keys if key in columns]


def to_markdown(
    columns: Sequence[Column], heads: Mapping[str, str], about: Mapping[str, str]
) -> str:
    """The tables, with what they were measured on above them.

    Args:
        columns: all of them, in their order.
        heads: by the first part of the keys, what the columns of a table stand for.
        about: the machine and the versions.
    """
    lines = [f"{name}: {value}  " for name, value in about.items()]
    for table, head in heads.items():
        mine = [it for it in columns if it.table == table]
        if not mine:
            continue
        rows = list(dict.fromkeys(what for it in mine for what in it.cells))
        lines += ["", _line([head, *(it.title for it in mine)]), _line(["---"] * (1 + len(mine)))]
        lines += [_line([row, *(it.cells.get(row, _NOT_YET) for it in mine)]) for row in rows]
    return "\n".join(lines) + "\n"


def to_json(columns: Sequence[Column], about: Mapping[str, str]) -> str:
    """Everything, the samples included."""
    return json.dumps({"about": about, "columns": [asdict(it) for it in columns]}, indent=1) + "\n"


def from_json(text: str) -> list[Column]:
    """The columns of a file that `to_json` made."""
    return [Column(**column) for column in json.loads(text)["columns"]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
