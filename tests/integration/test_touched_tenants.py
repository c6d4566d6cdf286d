"""Which tenants a change touches, asked of a real Git repository: `apollo tenant list`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import MakeEnvironment, RunApollo

pytestmark = pytest.mark.integration

FILES: Mapping[str, str] = {
    "README.md": "",
    "docs/guide.md": "",
    "requirements.txt": "",
    "dagster_apollo/run.py": "",
    "dbt/apollo/dbt_project.yml": "name: apollo",
    "dbt/apollo/macros/shared.sql": "",
    "common/macros/one.sql": "",
    # reads a mart of shared
    "tenants/dbt_reader/dbt_project.yml": "name: reader",
    "tenants/dbt_reader/apollo.yml": "reads: {marts: shared/marts}",
    "tenants/dbt_reader/models/a.sql": "select 1",
    # has its project further down, and macros outside of the tenants' directory
    "tenants/shared/transform/dbt_project.yml": 'name: s\nmacro-paths: ["../../../common/macros"]',
    "tenants/shared/transform/models/b.sql": "select 1",
    # has a package beside it
    "tenants/alone/dbt_project.yml": "name: alone",
    "tenants/alone/packages.yml": "packages: [{local: ../_packages/dates}]",
    "tenants/_packages/dates/dbt_project.yml": "name: dates",
    "tenants/_packages/dates/macros/m.sql": "",
}
EVERYONE = ["alone", "reader", "shared"]


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    ended = subprocess.run(
        ["git", *identity, *arguments], cwd=repository, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout at a branch, with one commit on main."""
    root = tmp_path / "a checkout"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "one")
    git(root, "switch", "--quiet", "--create", "branch")
    return root


@pytest.fixture
def listed(
    repository: Path, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> Callable[..., list[str]]:
    """The names of those that `apollo tenant list` shows."""

    def names(commit: str = "main") -> list[str]:
        env = apollo_env(repository / "tenants")
        ended = call_apollo(["tenant", "list", "--json", "--changed-since", commit], env)
        assert ended.returncode == 0, ended.stderr
        return [it["name"] for it in json.loads(ended.stdout)]

    return names


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["tenants/dbt_reader/models/a.sql"], ["reader"]),
        (["tenants/shared/transform/models/b.sql"], ["reader", "shared"]),
        (["tenants/alone/models/été.sql"], ["alone"]),
        (["common/macros/one.sql"], ["reader", "shared"]),
        (["common/macros/new.sql"], ["reader", "shared"]),
        (["tenants/_packages/dates/macros/m.sql"], ["alone"]),
        (["tenants/_packages/unused/m.sql"], []),
        (["README.md", "docs/guide.md", "tests/new.py", "benchmarks/new.py"], []),
        (["requirements.txt"], EVERYONE),
        (["dagster_apollo/run.py"], EVERYONE),
        (["dbt/apollo/macros/shared.sql"], EVERYONE),
        ([".github/workflows/ci.yml"], EVERYONE),
        ([], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
def test_a_change_touches_those_that_are_made_from_it(
    repository: Path,
    listed: Callable[..., list[str]],
    changed: list[str],
    expected: list[str],
    committed: bool,
) -> None:
    for name in changed:
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("changed")
    if committed and changed:
        git(repository, "add", ".")
        git(repository, "commit", "--quiet", "--message", "two")
    assert listed() == expected


def test_what_main_has_done_since_does_not_count(
    repository: Path, listed: Callable[..., list[str]]
) -> None:
    git(repository, "switch", "--quiet", "main")
    (repository / "requirements.txt").write_text("changed")
    git(repository, "commit", "--quiet", "--all", "--message", "on main")
    git(repository, "switch", "--quiet", "branch")
    assert listed() == []


def test_a_removed_file_and_both_names_of_a_moved_one_count(
    repository: Path, listed: Callable[..., list[str]]
) -> None:
    git(repository, "mv", "tenants/dbt_reader/models/a.sql", "tenants/alone/a.sql")
    assert listed() == ["alone", "reader"]


def test_a_removed_tenant_touches_what_reads_it(
    repository: Path, listed: Callable[..., list[str]]
) -> None:
    shutil.rmtree(repository / "tenants" / "shared")
    assert listed() == ["reader"]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Run `scripts/parse` with an `apollo` that only says how it was called."""
    bin_dir, log = tmp_path / "venv" / "bin", tmp_path / "log"
    bin_dir.mkdir(parents=True)
    (bin_dir / "python").symlink_to(sys.executable)

    def run(listing: str, *tenant: str) -> tuple[int, list[str]]:
        (bin_dir / "apollo").write_text(
            f'#!/bin/sh\nif [ "$1" = tenant ]; then {listing}; exit; fi\n'
            f"echo \"$APOLLO_TENANTS: $*\" >> '{log}'\n"
        )
        (bin_dir / "apollo").chmod(0o755)
        command = [str(CHECKOUT / "scripts" / "parse"), str(bin_dir.parent), *tenant]
        ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
        return ended.returncode, log.read_text().splitlines() if log.exists() else []

    return run


LISTING = json.dumps([{"name": "a b", "reads": ["c"]}, {"name": "c", "reads": []}])


def test_each_tenant_is_parsed_with_those_that_it_reads(
    parse: Callable[..., tuple[int, list[str]]],
) -> None:
    first = ["a b,c: prepare --target local", "a b: prepare --target prod"]
    second = ["c: prepare --target local", "c: prepare --target prod"]
    assert parse(f"echo '{LISTING}'", "a b") == (0, first)
    assert parse(f"echo '{LISTING}'") == (0, [*first, *first, *second])


@pytest.mark.parametrize("tenant", [(), ("c",)])
def test_nothing_is_parsed_where_the_tenants_cannot_be_listed(
    parse: Callable[..., tuple[int, list[str]]], tenant: tuple[str, ...]
) -> None:
    assert parse("exit 2", *tenant) == (2, [])


def test_the_list_says_what_each_reads(
    repository: Path, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> None:
    ended = call_apollo(["tenant", "list", "--json"], apollo_env(repository / "tenants"))
    rows = {it["name"]: it for it in json.loads(ended.stdout)}
    assert {name: it["reads"] for name, it in rows.items()} == {
        "alone": [],
        "reader": ["shared"],
        "shared": [],
    }
    assert rows["shared"]["root"] == str(repository / "tenants" / "shared" / "transform")


@pytest.mark.parametrize("commit", ["no-such-commit", "--all", ""])
def test_a_commit_that_is_not_there_is_said_to_be(
    repository: Path, apollo_env: MakeEnvironment, call_apollo: RunApollo, commit: str
) -> None:
    env = apollo_env(repository / "tenants")
    ended = call_apollo(["tenant", "list", f"--changed-since={commit}"], env)
    assert ended.returncode == 2
    assert "fetch-depth: 0" in ended.stderr
    assert "Traceback" not in ended.stderr
