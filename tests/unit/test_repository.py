"""What must hold of the repository itself: .env.example, the pins, and what is never committed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dagster_apollo.contract import ProcessEnvironment, TenantEnvironment
from dagster_apollo.paths import CHECKOUT

pytestmark = pytest.mark.unit

REQUIREMENTS = sorted(path.name for path in CHECKOUT.glob("requirements*.txt"))
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
DEPLOYS = "deploy.yml"
"""The workflow that calls the Deploy Hooks: it runs no action, and has their addresses."""
PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+")
LOCKS = {"uv.lock", "package-lock.json", "pnpm-lock.yaml", "yarn.lock", "poetry.lock", "pdm.lock"}
HASHED_PIN = re.compile(
    r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^\\]+)?"
    r"( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
)

FORBIDDEN = {
    "address of a package index": re.compile(r"https?://[^\s\"']+/(?:simple|packages)\b"),
    "option that names a package index": re.compile(r"--(?:(?:extra-)?index-url|find-links)[ =]"),
    "download address of a lock file": re.compile(r"\"resolved\": *\"http"),
    "path of one machine": re.compile(
        r"(?<![\w.~-])/(?:root|work|(?:home|Users)/(?!you\b)[a-z]\w*)/"
    ),
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
}


def tracked() -> list[str]:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("not a Git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name]


def texts() -> dict[str, str]:
    """The tracked files that are text and are there (one may be deleted and not yet committed)."""
    paths = {name: CHECKOUT / name for name in tracked()}
    contents = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    return {name: data.decode() for name, data in contents.items() if b"\0" not in data}


def contract() -> set[str]:
    fields = ProcessEnvironment.model_fields | TenantEnvironment.model_fields
    return {name.upper() for name in fields}


def test_the_example_names_every_variable_and_no_other() -> None:
    example = (CHECKOUT / ".env.example").read_text()

    assert set(re.findall(r"^#([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)) == contract()


def test_the_example_sets_nothing_until_a_person_does() -> None:
    lines = (CHECKOUT / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


def test_no_lock_file_is_tracked() -> None:
    assert [name for name in tracked() if Path(name).name in LOCKS] == []


def test_no_environment_file_is_tracked() -> None:
    assert [name for name in tracked() if Path(name).name == ".env"] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    pattern = FORBIDDEN[what]
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        for name, text in texts().items()
        for match in pattern.finditer(text)
    ]

    assert found == [], f"{what} in {', '.join(found)}"


@pytest.mark.parametrize(
    ("what", "example"),
    [  # in two parts, so that this file does not hold what it looks for
        ("address of a package index", ("https://index.example/", "simple")),
        ("option that names a package index", ("--extra-index-", "url https://index.example")),
        ("option that names a package index", ("--find-", "links=wheels")),
        ("download address of a lock file", ('"resolved": ', '"https://registry.example/x"')),
        ("path of one machine", ("PATH=/ro", "ot/.local/bin")),
        ("path of one machine", ("'/wo", "rk/apollo'")),
        ("path of one machine", ("/ho", "me/ada/apollo")),
        ("private key", ("-----BEGIN ", "PRIVATE KEY-----")),
        ("private key", ("-----BEGIN ENCRYPTED ", "PRIVATE KEY-----")),
    ],
)
def test_it_would_be_found(what: str, example: tuple[str, str]) -> None:
    assert FORBIDDEN[what].search("".join(example))


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_pins_with_hashes_and_nothing_else(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    pins = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)

    assert re.sub(HASHED_PIN, "", pins) == ""
    assert len(HASHED_PIN.findall(pins)) > 100


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_say_how_they_were_made(name: str) -> None:
    comments = re.findall(r"^#.*", (CHECKOUT / name).read_text(), re.MULTILINE)

    assert comments[1:] == ["#    make lock"]


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "requirements.txt": project["dependencies"] + extras["build"],
        "requirements-dev.txt": project["dependencies"] + extras["build"] + extras["dev"],
        "requirements-dev-dbt-1.10.txt": project["dependencies"] + extras["dev"],
    }

    for name, dependencies in wanted.items():
        assert {_package(line) for line in dependencies} <= _pins(name).keys(), name


def test_development_runs_what_production_runs() -> None:
    assert _pins("requirements.txt").items() <= _pins("requirements-dev.txt").items()


def test_both_versions_of_dbt_are_pinned() -> None:
    assert _pins("requirements-dev.txt")["dbt-core"][0].startswith("1.11.")
    assert _pins("requirements-dev-dbt-1.10.txt")["dbt-core"][0].startswith("1.10.")


def test_there_is_a_workflow() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_every_action_to_a_commit(path: Path) -> None:
    uses = re.findall(r"\buses:\s*(.*)", path.read_text())

    assert bool(uses) == (path.name != DEPLOYS)
    assert [
        it for it in uses if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+", it)
    ] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_know_no_secret(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert set(job["permissions"].values()) <= {"read"}
    assert ("secrets." in path.read_text()) == (path.name == DEPLOYS)


def test_secrets_are_those_of_an_environment_and_no_foreign_code_runs_beside_them() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / DEPLOYS).read_text())
    (job,) = workflow["jobs"].values()

    assert job["environment"] == "production"
    assert job["permissions"] == {"contents": "read"}
    assert [step for step in job["steps"] if "uses" in step or "${{" in step["run"]] == []
    assert "head_repository.id == github.event.repository.id" in job["if"]


def test_only_the_head_of_main_is_deployed() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / DEPLOYS).read_text())
    (job,) = workflow["jobs"].values()
    with_secrets = [step for step in job["steps"] if "secrets." in str(step.get("env"))]

    assert [step["if"] for step in with_secrets] == [
        "steps.main.outputs.head == github.event.workflow_run.head_sha"
    ]
    assert "secrets." not in str(job["env"])


def test_the_code_location_that_dagster_is_told_of_exists() -> None:
    tool = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]
    module = tool["dagster"]["module_name"]

    assert importlib.util.find_spec(module)
    assert tool["dg"]["project"]["code_location_target_module"] == module


def test_the_licence_is_the_one_that_pyproject_names() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    licence = (CHECKOUT / "LICENSE").read_text()

    assert project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in licence


def _package(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _pins(name: str) -> dict[str, tuple[str, ...]]:
    """The versions of each package; more than one where they depend on the Python."""
    pins: dict[str, tuple[str, ...]] = {}
    for package, version in re.findall(
        r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==([^\s;]+)", (CHECKOUT / name).read_text(), re.MULTILINE
    ):
        pins[package] = (*pins.get(package, ()), version)
    return pins
