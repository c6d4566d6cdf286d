"""What `apollo build` prints while it builds: on a terminal, and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from dagster_apollo.cli.progress import BuildProgress
from dagster_apollo.dbt.resource import DbtEvent

pytestmark = pytest.mark.unit


def finished(number: int, status: str) -> DbtEvent:
    node = {
        "unique_id": f"model.acme.m{number}",
        "node_name": f"m{number}",
        "resource_type": "model",
        "node_status": status,
    }
    data = {"node_info": node, "index": number, "total": 2, "execution_time": 0.256}
    return {"info": {"name": "LogModelResult", "msg": ""}, "data": data}


def started(number: int) -> DbtEvent:
    return {"info": {"name": "LogStartLine", "msg": ""}, "data": finished(number, "")["data"]}


def printed(console: Console) -> str:
    progress = BuildProgress("acme", console)
    for number, status in ((1, "success"), (2, "error")):
        progress.on_event(started(number))
        progress.on_event(finished(number, status))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_node_has_a_line_where_there_is_no_terminal() -> None:
    assert printed(Console(file=io.StringIO())).splitlines() == [
        "        1/2  success  model m1  0.26 s",
        "        2/2  error    model m2  0.26 s",
    ]


def test_a_terminal_has_the_same_line_for_what_went_wrong_only() -> None:
    text = printed(Console(file=io.StringIO(), force_terminal=True, highlight=False))
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == "        2/2  error    model m2  0.26 s\n"


def test_a_line_that_nobody_sees_styled_is_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[object] = []
    monkeypatch.setattr(Console, "print", lambda *given, **_options: rendered.append(given))
    assert printed(Console(file=io.StringIO())).count("\n") == 2
    assert not rendered
