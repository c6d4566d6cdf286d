"""What the launcher changes of dbt's own command line, at dbt's own objects."""

import io
import json

import pytest
from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.logger import LineFormat, LoggerConfig, _JsonLogger
from dbt_common.events.types import Formatting, Note

from dagster_apollo.dbt import launcher

pytestmark = pytest.mark.unit


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of JSON that dbt makes, whether it writes them or not."""
    made: list[str] = []
    create = _JsonLogger.create_line

    def counted(self: _JsonLogger, message: object) -> str:
        made.append(create(self, message))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(_JsonLogger, "create_line", counted)
    monkeypatch.setattr(_JsonLogger, "write_line", _JsonLogger.write_line)  # put back at the end
    launcher._make_json_only_of_what_is_written()
    return made


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (EventLevel.DEBUG, ["heard by nobody", "said", "printed"]),
        (EventLevel.INFO, ["said", "printed"]),
        (EventLevel.ERROR, []),
    ],
)
def test_json_is_made_of_what_is_written_only(
    lines: list[str], level: EventLevel, expected: list[str]
) -> None:
    console = io.StringIO()
    manager = EventManager()
    manager.add_logger(
        LoggerConfig(
            name="console", line_format=LineFormat.Json, level=level, output_stream=console
        )
    )
    manager.fire_event(Note(msg="heard by nobody"), level=EventLevel.DEBUG)
    manager.fire_event(Note(msg="said"), level=EventLevel.INFO)
    manager.fire_event(Formatting(msg="printed"), level=EventLevel.INFO)
    assert [json.loads(it)["info"]["msg"] for it in console.getvalue().splitlines()] == expected
    assert len(lines) == (3 if level is EventLevel.DEBUG else 2)
