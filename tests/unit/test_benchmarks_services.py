"""What the benchmarks decide about services: which process is whose, and when they are up."""

from typing import Any

import pytest

from benchmarks.bench import FULL, QUICK
from benchmarks.cells import named, seconds_text
from benchmarks.registry import all_measurements
from benchmarks.scale import scale_measurements
from benchmarks.services import free_ports, is_healthy
from benchmarks.trees import Process, role_of, roles

pytestmark = pytest.mark.unit

WORKER = ("python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()")
CODE_SERVER = ("python", "-m", "dagster", "api", "grpc", "--lazy-load-user-code")


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (WORKER, "run worker"),
        (CODE_SERVER, "code server"),
        (("python", "/venv/bin/dbt", "--log-format", "json", "build"), "dbt"),
        (("python", "-c", "from multiprocessing.resource_tracker import main"), None),
        (("python", "/venv/bin/dagster-daemon", "run"), None),
        ((), None),
    ],
)
def test_a_process_has_its_role_by_its_command_line(
    arguments: tuple[str, ...], role: str | None
) -> None:
    assert role_of(arguments) == role


def test_what_a_process_starts_has_its_role_unless_it_has_one_of_its_own() -> None:
    processes = {
        1: Process(0, ("python", "subreaper.py")),
        2: Process(1, ("python", "dagster-daemon")),
        3: Process(2, CODE_SERVER),
        4: Process(3, WORKER),
        5: Process(4, ("python", "collector")),
        6: Process(4, ("python", "/apollo/dbt/launcher.py", "build")),
        7: Process(6, WORKER),
        8: Process(3, ("python", "-c", "from multiprocessing.resource_tracker import main")),
        9: Process(99, WORKER),
    }
    assert sorted(roles(1, "daemon", processes).items()) == [
        *((1, "daemon"), (2, "daemon"), (3, "code server"), (4, "run worker"), (5, "run worker")),
        *((6, "dbt"), (7, "dbt"), (8, "code server")),
    ]


def health(*required: bool, nodes: int = 1) -> dict[str, Any]:
    """What a webserver says: a daemon that is not needed is not healthy here."""
    statuses = [{"required": True, "healthy": healthy} for healthy in required]
    return {
        "repositoriesOrError": {"nodes": [{"name": "it"}] * nodes} if nodes else {},
        "instance": {
            "daemonHealth": {
                "allDaemonStatuses": [*statuses, {"required": False, "healthy": False}]
            }
        },
    }


def test_services_are_up_once_definitions_are_loaded_and_every_needed_daemon_reports() -> None:
    assert is_healthy(health(True, True))
    assert not is_healthy(health(True, False))
    assert not is_healthy(health(True, nodes=0))
    assert not is_healthy(health())


def test_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5


def test_the_quick_form_leaves_out_only_what_there_is() -> None:
    known = all_measurements(QUICK) | scale_measurements(QUICK)
    assert QUICK.left_out <= known.keys()
    assert not FULL.left_out


def test_numbers_are_written_for_people() -> None:
    assert [seconds_text(1.234), seconds_text(61.04)] == ["1.23 s", "61.0 s"]
    assert named({"webserver": 1234.4, "daemon": 99.6}, "MB") == "webserver 1,234, daemon 100 MB"
