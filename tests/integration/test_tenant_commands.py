"""The life of a tenant at the command line: new, list, check."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import MakeEnvironment, RunApollo

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory, apollo_env: MakeEnvironment) -> dict[str, str]:
    """The environment of a checkout that has no tenant yet."""
    return apollo_env(tmp_path_factory.mktemp("checkout") / "tenants")


@pytest.fixture(scope="module")
def acme(env: dict[str, str], run_apollo: RunApollo) -> Path:
    """A new tenant's folder."""
    ended = run_apollo(["tenant", "new", "acme"], env)
    assert ended.returncode == 0, ended.stderr
    folder = Path(env["APOLLO_TENANTS_DIR"], "dbt_acme")
    assert str(folder) in ended.stdout
    return folder


def test_a_new_tenant_builds_at_once(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    ended = call_apollo(["build", "acme", "--json"], env)
    assert ended.returncode == 0, ended.stderr
    counts: dict[str, Any] = json.loads(ended.stdout)["acme"]
    assert (counts["success"], counts["total"]) == (8, 8)


def test_a_list_shows_what_is_there_and_how_it_ended(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    assert call_apollo(["build", "acme", "--select", "raw_orders"], env).returncode == 0
    listed = call_apollo(["tenant", "list", "--json"], env)
    [row] = json.loads(listed.stdout)
    assert (row["name"], row["path"], row["nodes"]) == ("acme", str(acme), 3)
    assert (row["target"], row["prepared"]) == ("local", "fresh")
    assert (row["last_run"]["job"], row["last_run"]["status"]) == ("acme_build", "SUCCESS")
    narrow = call_apollo(["tenant", "list"], {**env, "COLUMNS": "80"}).stdout
    for shown in ("fresh", "success"):
        assert shown in narrow
    assert "…" not in narrow


def checked(call_apollo: RunApollo, env: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Status and finding of each check of `apollo tenant check`."""
    ended = call_apollo(["tenant", "check", "acme", "--json"], env)
    checks = json.loads(ended.stdout)
    assert ended.returncode == (2 if any(it["status"] == "error" for it in checks) else 0)
    return {it["name"]: (it["status"], it["finding"]) for it in checks}


def test_a_check_says_all_that_keeps_a_tenant_from_production(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    found = checked(call_apollo, env)
    assert found["SNOWFLAKE_ACCOUNT"][0] == found["SNOWFLAKE_PRIVATE_KEY_PEM"][0] == "error"
    assert found["owners"][0] == "warning"
    assert found["project"][0] == found["schema routing"][0] == "ok"
    assert found["definitions"] == ("ok", "3 assets, 5 checks")
    # a model that Snowflake would have no schema for
    stray = acme / "models" / "stray.sql"
    stray.write_text("select 1 as one")
    try:
        status, finding = checked(call_apollo, env)["project"]
    finally:
        stray.unlink()
    assert status == "error"
    assert "model.acme.stray (models/stray.sql) resolves to no schema" in finding


def test_a_check_passes_where_nothing_is_missing(
    acme: Path, env: dict[str, str], call_apollo: RunApollo, rsa_key: str
) -> None:
    (acme / "apollo.yml").write_text("owners: ['team:data']\n")
    complete = {
        **env,
        **{
            f"SNOWFLAKE_{name}": "x"
            for name in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
        },
        "SNOWFLAKE_PRIVATE_KEY_PEM": rsa_key,
    }
    found = checked(call_apollo, complete)
    assert {status for status, _ in found.values()} == {"ok"}
    assert found["variables"][0] == "ok"
    assert not Path(env["DAGSTER_HOME"], "tenants", "acme", "prepared", "prod").exists()


def test_a_check_says_that_nothing_with_this_environment_serves_the_tenant(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    beside = acme.parent / "other"
    beside.mkdir()
    try:
        found = checked(call_apollo, {**env, "APOLLO_TENANTS": "other"})
    finally:
        beside.rmdir()
    assert found["APOLLO_TENANTS"] == (
        "error",
        "leaves this tenant out: no process with this environment serves it",
    )
    assert "variables" not in found
    assert found["project"][0] == "ok"


def test_a_check_takes_for_the_tenants_what_has_its_whole_prefix(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    # acme's prefix, ACME__, is the beginning of ACME__X__
    nested = acme.parent / "dbt_acme__x"
    nested.mkdir()
    (nested / "dbt_project.yml").write_text("name: acme__x")
    try:
        ended = call_apollo(["tenant", "check", "acme__x", "--json"], env)
    finally:
        shutil.rmtree(nested)
    errors = {it["name"] for it in json.loads(ended.stdout) if it["status"] == "error"}
    assert {"ACME__X__SNOWFLAKE_ACCOUNT", "ACME__X__SNOWFLAKE_PRIVATE_KEY_PEM"} <= errors
    assert not any(name.startswith("ACME__SNOWFLAKE") for name in errors)


def test_a_name_that_is_taken_or_unusable_is_refused(
    acme: Path, env: dict[str, str], call_apollo: RunApollo
) -> None:
    before = sorted(acme.parent.iterdir())
    unusable = ["Ac-me", "a__b", "apollo", "dbt", "dbt_utils", "dbt_duckdb"]
    for name, said in [("acme", "already"), *((name, "cannot be named") for name in unusable)]:
        ended = call_apollo(["tenant", "new", name], env)
        assert ended.returncode == 2
        assert said in ended.stderr
    assert sorted(acme.parent.iterdir()) == before


def test_all_of_a_new_tenant_is_text_for_git(acme: Path) -> None:
    template = CHECKOUT / "dagster_apollo" / "scaffold" / "project"
    files = {path.relative_to(template) for path in template.rglob("*") if path.is_file()}
    for file in files:
        text = (acme / file).read_text(encoding="utf-8")
        assert "${" not in text
        # in another tree of the file system than the checkout
        assert str(CHECKOUT) not in text or file.name in {"packages.yml", "apollo.yml"}
