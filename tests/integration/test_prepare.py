"""`apollo prepare`: what makes it run dbt, and what a crash or bad input leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, RunApollo, run_python

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def env(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> dict[str, str]:
    """Two prepared tenants, prepared side by side."""
    env = apollo_env(copy_tenants(dbt_small=SMALL, acme=SMALL))
    result = call_apollo(["prepare"], env)
    assert result.returncode == 0, result.stderr
    return env


def prepared(env: dict[str, str], tenant: str = "small", target: str = "local") -> Path:
    return Path(env["DAGSTER_HOME"], "tenants", tenant, "prepared", target)


def project(env: dict[str, str], folder: str = "dbt_small") -> Path:
    return Path(env["APOLLO_TENANTS_DIR"], folder)


def stamps(env: dict[str, str], tenant: str = "small") -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in prepared(env, tenant).glob("[!.]*")}


def test_both_tenants_are_prepared(env: dict[str, str]) -> None:
    for tenant in ("small", "acme"):
        names = {path.name for path in prepared(env, tenant).iterdir()}
        assert {"manifest.json", "digest.json", "partial_parse.msgpack", "state.json"} <= names


def test_nothing_to_do_runs_no_dbt(env: dict[str, str], run_apollo: RunApollo) -> None:
    before = stamps(env)
    # a dbt that cannot even start: it would fail if it were called
    result = run_apollo(["prepare"], {**env, "PYTHONPATH": str(_poisoned_dbt(env))})
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("nothing to prepare") == 2
    assert stamps(env) == before


def _poisoned_dbt(env: dict[str, str]) -> Path:
    folder = Path(env["TMPDIR"], "poison", "dbt")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("raise RuntimeError('dbt was started')")
    return folder.parent


def test_the_poison_would_have_been_noticed(env: dict[str, str], run_apollo: RunApollo) -> None:
    result = run_apollo(
        ["prepare", "--force", "acme"], {**env, "PYTHONPATH": str(_poisoned_dbt(env))}
    )
    assert result.returncode == 2
    assert "dbt was started" in result.stderr
    assert run_apollo(["prepare", "acme"], env).returncode == 0


def test_a_changed_model_prepares_its_own_tenant_only(
    env: dict[str, str], call_apollo: RunApollo
) -> None:
    before, others = stamps(env), stamps(env, "acme")
    model = project(env) / "models" / "orders.sql"
    model.write_text(model.read_text() + "-- changed\n")
    result = call_apollo(["prepare"], env)
    assert result.returncode == 0, result.stderr
    assert "small: prepared" in result.stderr
    assert "acme: nothing to prepare" in result.stderr
    assert stamps(env)["state.json"] != before["state.json"]
    assert stamps(env, "acme") == others


def test_a_touched_file_is_not_a_changed_one(env: dict[str, str], call_apollo: RunApollo) -> None:
    os.utime(project(env) / "models" / "customers.sql")
    assert call_apollo(["prepare", "small"], env).stderr.count("nothing to prepare") == 1


@pytest.mark.parametrize("content", ["", '{"nodes": {"model.small.orders": {"na', "{}"])
def test_a_damaged_manifest_is_prepared_again(
    env: dict[str, str], call_apollo: RunApollo, content: str
) -> None:
    (prepared(env) / "manifest.json").write_text(content)
    doctor = call_apollo(["doctor", "small", "--json"], env)
    finding = {check["name"]: check for check in json.loads(doctor.stdout)}["manifest"]
    assert finding["status"] == "warning"
    assert "manifest.json is missing or damaged" in finding["finding"]
    assert call_apollo(["prepare", "small"], env).returncode == 0
    assert "nodes" in json.loads((prepared(env) / "manifest.json").read_text())


def test_a_crash_in_the_middle_leaves_a_tenant_that_is_visibly_not_prepared(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL))
    command = [sys.executable, "-m", "dagster_apollo.cli", "prepare"]
    process = subprocess.Popen(command, cwd=CHECKOUT, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (prepared(env) / ".staging" / "dbt.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not (prepared(env) / "state.json").exists()
    result = call_apollo(["prepare"], env)
    assert result.returncode == 0, result.stderr
    assert (prepared(env) / "state.json").exists()
    assert not (prepared(env) / ".staging").exists()


def test_two_preparations_at_once_do_the_work_once(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL))
    command = [sys.executable, "-m", "dagster_apollo.cli", "prepare"]
    processes = [
        subprocess.Popen(command, cwd=CHECKOUT, env=env, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("small: prepared" in output for output in outputs) == 1
    assert sum("nothing to prepare" in output for output in outputs) == 1


def test_a_project_that_does_not_parse_is_reported_in_dbts_words(
    env: dict[str, str], call_apollo: RunApollo
) -> None:
    model = project(env) / "models" / "typo.sql"
    model.write_text("select * from {{ ref('no_such_model') }}")
    try:
        result = call_apollo(["prepare"], env)
    finally:
        model.unlink()
    assert result.returncode == 2
    assert "no_such_model" in result.stderr
    assert "tenant small" in result.stderr
    assert "acme: nothing to prepare" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: small\n  profile: [", "line 2"),
        ("profile: apollo-snowflake\n", "has no `name:`"),
        ("- a\n- list\n", "not a YAML mapping"),
    ],
)
def test_an_invalid_project_file_is_named_with_its_fault(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    content: str,
    said: str,
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL))
    (project(env) / "dbt_project.yml").write_text(content)
    for command, code in ((["prepare"], 2), (["build"], 2), (["tenant", "list"], 0)):
        result = call_apollo(command, env)
        assert result.returncode == code
        printed = result.stderr if code else result.stdout
        assert said in printed
        assert "dbt_project.yml" in printed
        assert "Traceback" not in printed


def test_a_folder_without_a_project_is_an_error_that_names_it(
    copy_tenants: CopyTenants, apollo_env: MakeEnvironment, call_apollo: RunApollo
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL))
    project(env, "dbt_empty").mkdir()
    result = call_apollo(["prepare"], env)
    assert result.returncode == 2
    assert "dbt_empty" in result.stderr
    assert "dbt_project.yml" in result.stderr


def test_an_unknown_tenant_is_an_error_that_lists_those_there_are(
    env: dict[str, str], call_apollo: RunApollo
) -> None:
    result = call_apollo(["prepare", "nobody"], env)
    assert result.returncode == 2
    assert "acme, small" in result.stderr


def test_preparing_nothing_imports_neither_dagster_nor_dbt(env: dict[str, str]) -> None:
    """Its cost is that of imports, so they are counted."""
    code = (
        "import sys; sys.argv = ['apollo', 'prepare']\n"
        "from dagster_apollo.cli.app import app\n"
        "app(standalone_mode=False)\n"
        "print(*({'dagster', 'dagster_dbt', 'dbt'} & {*sys.modules}))"
    )
    result = run_python(code, env)
    assert "nothing to prepare" in result.stderr
    assert result.stdout.split() == []
