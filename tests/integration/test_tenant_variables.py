"""A tenant that needs variables, in its environment and in dbt's --vars, to parse and to run.

Its project lies below its folder, in transform/.
"""

import contextlib
import json
import shutil
from pathlib import Path

import duckdb
import pytest

from dagster_apollo.own_variables import require_nameable
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, RunApollo

pytestmark = pytest.mark.integration

MODEL = """{{ config(schema=env_var('MART_SCHEMA')) }}
select
    '{{ var("country") }}' as country,
    '{{ env_var("REGION") }}' as region,
    '{{ env_var("RELEASE") }}' as release
"""
CONFIG = """env:
  MART_SCHEMA: marts
  RELEASE: '7'
env_from: [REGION]
vars:
  country: "GB 🏴"
"""


@pytest.fixture(scope="module")
def env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    """The tenant `needy` beside one that needs nothing."""
    tenants_dir = copy_tenants(**{"dbt_sound": SMALL, "dbt_needy/transform": SMALL})
    folder = tenants_dir / "dbt_needy"
    root = folder / "transform"
    shutil.rmtree(root / "snapshots")
    (root / "models" / "needs.sql").write_text(MODEL)
    (folder / "apollo.yml").write_text(CONFIG)
    project = root / "dbt_project.yml"
    # where dbt parses a model, a variable that is missing is None; here it is an error
    project.write_text(project.read_text() + "query-comment: \"{{ var('country') }}\"\n")
    return apollo_env(tenants_dir, NEEDY__REGION="north", REGION="of nobody")


def needy(env: dict[str, str], *parts: str) -> Path:
    return Path(env["DAGSTER_HOME"], "tenants", "needy", *parts)


def built(env: dict[str, str]) -> list[tuple[str, str, str]]:
    with duckdb.connect(needy(env, "needy.duckdb"), read_only=True) as connection:
        return connection.execute("select country, region, release from marts.needs").fetchall()


def test_a_run_has_the_variables_that_it_was_parsed_with_and_parses_nothing(
    env: dict[str, str], call_apollo: RunApollo
) -> None:
    prepared = call_apollo(["prepare", "needy"], env)
    assert prepared.returncode == 0, prepared.stderr
    ended = call_apollo(["build", "needy", "--json"], env)
    assert ended.returncode == 0, ended.stderr
    assert built(env) == [("GB 🏴", "north", "7")]
    log = needy(env, "runs", json.loads(ended.stdout)["needy"]["run_id"], "dbt.log").read_text()
    assert "Partial parsing enabled, no changes found, skipping parsing" in log
    assert "Unable to do partial parsing" not in log


def test_plain_dbt_gets_them_too_and_its_own_win(
    env: dict[str, str], run_apollo: RunApollo
) -> None:
    arguments = ["dbt", "needy", "--", "run", "--select", "needs"]
    ended = run_apollo([*arguments, "--vars", "{country: FR, other: 1}"], env)
    assert ended.returncode == 0, ended.stdout
    assert built(env) == [("FR", "north", "7")]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("env_from: [REGION]\n", "Env var required but not provided: 'REGION'"),
        ('vars:\n  country: "GB 🏴"\n', "Required var 'country' not found in config"),
    ],
)
def test_one_that_is_missing_fails_its_tenant_alone_and_names_the_file_to_edit(
    env: dict[str, str], call_apollo: RunApollo, missing: str, said: str
) -> None:
    config = Path(env["APOLLO_TENANTS_DIR"], "dbt_needy", "apollo.yml")
    assert missing in CONFIG
    config.write_text(CONFIG.replace(missing, ""))
    try:
        ended = call_apollo(["prepare"], env)
    finally:
        config.write_text(CONFIG)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert str(config) in ended.stderr
    assert "sound: " in ended.stderr
    assert "tenant sound" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_flag_that_dbt_takes_from_the_environment_is_known() -> None:
    import dbt.cli.main  # noqa: F401 - dbt.env_vars imports it, and it dbt.env_vars
    from dbt.env_vars import KNOWN_ENGINE_ENV_VARS

    flags = {name for it in KNOWN_ENGINE_ENV_VARS for name in (it.name, it.old_name) if name}
    assert len(flags) > 100
    taken = set()
    for name in flags:
        with contextlib.suppress(ValueError):
            taken.add(require_nameable(name))
    # where packages come from, and where `dbt docs serve` listens
    assert taken == {"DBT_PACKAGE_HUB_URL", "DBT_DOWNLOAD_DIR", "DBT_HOST"}
