"""What dbt said was wrong, from the JSON lines that it writes."""

import json
from typing import Final

_LAST_LINES: Final = 20
_TRACEBACK: Final = "Traceback (most recent call last):"


def error_messages(output: bytes) -> str:
    """The errors in the output of a dbt command, indented.

    Args:
        output: JSON lines (DBT_LOG_FORMAT=json), with whatever else the process wrote among them.

    Returns:
        The messages of dbt's error events, without tracebacks; failing those, the end
        of the output.
    """
    lines = output.decode(errors="replace").splitlines()
    errors = [text for line in lines if (text := _error(line))]
    # dbt logs the traceback of an exception after its text
    told = [text for text in errors if not text.startswith(_TRACEBACK)]
    shown = list(dict.fromkeys(map(_without_frames, told or errors)))
    shown = shown or [line for line in lines if not line.startswith("{")][-_LAST_LINES:]
    return "\n".join(f"  {line}" for text in shown for line in text.splitlines())


def _error(line: str) -> str | None:
    """The message of an error event; None for any other line."""
    try:
        info = json.loads(line)["info"]
        return str(info["msg"]).strip() if info["level"] == "error" else None
    except (ValueError, KeyError, TypeError):
        return None


def _without_frames(text: str) -> str:
    """A message of which only the exceptions' own lines are left of the tracebacks in it."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith((_TRACEBACK, " ")) if inside else line.startswith(_TRACEBACK)
        if not inside:
            kept.append(line)
    return "\n".join(kept).strip()
