"""Plain hosts: the image, Compose and systemd say the same as render.yaml, and as each other."""

import configparser
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagster_apollo.paths import CHECKOUT
from tests.rehearsal.blueprint import load

pytestmark = pytest.mark.unit

DEPLOY = CHECKOUT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMMANDS = {"webserver", "daemon", "code-server"}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.*)$", joined, re.MULTILINE)


class Unit(configparser.RawConfigParser):
    """A unit file; a setting that occurs more than once gives its last value."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment]
        self.read(path)
        self.lines = path.read_text().splitlines()

    def all(self, name: str) -> list[str]:
        return [line.partition("=")[2] for line in self.lines if line.startswith(f"{name}=")]


# the image ---------------------------------------------------------------------------------------


def test_the_image_is_of_the_same_python_as_render() -> None:
    version = next(
        entry["value"] for entry in load().groups["apollo"] if entry["key"] == "PYTHON_VERSION"
    )

    assert instructions("FROM") == [f"python:{version}-slim-bookworm"]


def test_the_image_runs_as_somebody_without_rights() -> None:
    (user,) = instructions("USER")

    assert f"useradd --uid {user} " in DOCKERFILE
    assert DOCKERFILE.index(f"USER {user}") < DOCKERFILE.index("CMD")


def test_the_image_installs_pins_by_their_hashes_and_nothing_from_elsewhere() -> None:
    installs = [line for line in instructions("RUN") if "pip install" in line]

    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    assert not re.search(r"\bADD\b|curl|wget|apt-get|https?://", DOCKERFILE)


def test_no_secret_gets_into_the_image() -> None:
    assert not re.search("SNOWFLAKE|PASSWORD|SECRET|PG_URI", DOCKERFILE)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "what is not named stays out"
    assert "**/.env*" in ignored
    assert not {"!.git", "!.dagster", "!deploy", "!tests"} & set(ignored)


@pytest.mark.parametrize("name", ["dagster_apollo", "dbt", "tenants", "deploy/dagster.yaml"])
def test_what_the_services_need_gets_into_the_image(name: str) -> None:
    assert (CHECKOUT / name).exists()
    assert f"!{name}" in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()


# Compose -----------------------------------------------------------------------------------------


def test_compose_runs_the_three_services_and_migrates_first(compose: dict[str, Any]) -> None:
    services = compose["services"]
    commands = {name: " ".join(it.get("command", ())) for name, it in services.items()}

    started = re.findall(r"\bapollo ([a-z-]+)", " ".join(commands.values()))
    assert Counter(started) == Counter([*COMMANDS, "migrate", "prepare"])
    for name in ("webserver", "daemon", "code"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"
        assert services[name]["healthcheck"]["test"]
        assert services[name]["init"] is True
        assert services[name]["cap_drop"] == ["ALL"]


def test_compose_does_not_start_without_a_release() -> None:
    uses = re.findall(r"\$\{RELEASE[^}]*\}", (DEPLOY / "compose.yaml").read_text())

    assert [use for use in uses if use.startswith("${RELEASE:?")] == uses[:1]


def test_compose_gives_a_service_only_its_own_secrets(compose: dict[str, Any]) -> None:
    files = {name: set(it["env_file"]) for name, it in compose["services"].items()}

    assert {name for name, it in files.items() if "snowflake.env" in it} == {"code"}
    assert {name for name, it in files.items() if "web.env" in it} == {"webserver"}
    literals = re.findall(r"^\s+([A-Z_]+):", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert not [name for name in literals if re.search("SECRET|PASSWORD|SNOWFLAKE|_URI", name)]


def test_compose_publishes_the_ui_alone_and_only_on_loopback(compose: dict[str, Any]) -> None:
    ports = {name: it["ports"] for name, it in compose["services"].items() if "ports" in it}

    assert ports == {"webserver": ["127.0.0.1:3000:3000"]}


def test_compose_stops_a_code_server_no_sooner_than_it_expects(compose: dict[str, Any]) -> None:
    code = compose["services"]["code"]

    assert code["stop_grace_period"] == f"{code['environment']['APOLLO_SHUTDOWN_SECONDS']}s"


def test_compose_s_postgres_is_of_the_version_that_render_s_is(compose: dict[str, Any]) -> None:
    (database,) = load().databases.values()

    image = f"postgres:{database['postgresMajorVersion']}"
    assert compose["services"]["postgres"]["image"] == image


# systemd -----------------------------------------------------------------------------------------


def test_there_is_a_unit_for_each_service() -> None:
    started = {Unit(path).get("Service", "ExecStart").split()[1] for path in UNITS}

    assert started == COMMANDS


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_migrates_first_and_runs_as_somebody_without_rights(path: Path) -> None:
    unit = Unit(path)
    service = unit["Service"]

    assert unit.all("ExecStartPre")[0].endswith("apollo migrate")
    assert service["User"] == "apollo"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_signals_the_service_alone_and_as_early_as_it_expects(path: Path) -> None:
    service = Unit(path)["Service"]
    known = re.search(
        r"^Environment=APOLLO_SHUTDOWN_SECONDS=(\d+)$", path.read_text(), re.MULTILINE
    )

    assert service["KillMode"] == "mixed", "its runs go on until they had their time"
    assert int(service["TimeoutStopSec"]) == int(known[1] if known else 30)


def test_only_the_unit_of_the_code_server_reads_the_warehouse_s_variables() -> None:
    files = {path.stem: set(Unit(path).all("EnvironmentFile")) for path in UNITS}

    assert {name for name, it in files.items() if "/etc/apollo/code.env" in it} == {"apollo-code"}
    assert {name for name, it in files.items() if "/etc/apollo/web.env" in it} == {
        "apollo-webserver"
    }


def test_all_units_share_the_instance_directory() -> None:
    homes = [
        line
        for path in UNITS
        for line in Unit(path).all("Environment")
        if line.startswith("DAGSTER_HOME=")
    ]

    assert homes == ["DAGSTER_HOME=/var/lib/apollo"] * 3
