"""A tenant whose macros and Python model look for whatever they can reach (tests/projects/hostile).

It builds in a process that holds another tenant's credentials and the platform's own secrets, as
somebody who may not look into every process: root may, whatever a process says.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import CopyTenants, MakeDatabase, MakeEnvironment, make_pem
from tests.integration.privacy import unprivileged

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]

HOSTILE = CHECKOUT / "tests" / "projects" / "hostile"
OWN = "own-token-zq"
SECRETS = {
    "BYSTANDER__DBT_ENV_SECRET_TOKEN": "bystanders-token-zq",
    "BYSTANDER__DBT_ENV_REGION": "bystanders-region-zq",
    "BYSTANDER__SNOWFLAKE_USER": "bystanders-user-zq",
    "APOLLO_SESSION_SECRET": "session-secret-zq",
    "APOLLO_ADMIN_PASSWORD": "admin-password-zq",
    "APOLLO_OIDC_CLIENT_SECRET": "client-secret-zq",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-zq",
    "RENDER_API_KEY": "render-key-zq",
}
PASSWORD = "postgres-password-zq"


@dataclass(frozen=True)
class Finds:
    """What the hostile tenant has found."""

    jinja: dict[str, str]
    """What `env_var` gave, by name."""
    own_process: str
    """/proc/self/environ, by `run_query`."""
    python: dict[str, Any]
    """What the Python model has found, by where it looked."""


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """What the hostile tenant must not get, by variable; all of it is in Apollo's environment."""
    return {**SECRETS, "BYSTANDER__SNOWFLAKE_PRIVATE_KEY_PEM": make_pem()}


@pytest.fixture(scope="module")
def finds(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    make_database: MakeDatabase,
    _migrated_template: str,
    secrets: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finds:
    """Both tenants, built by one command; the hostile one starts when the other is done."""
    bystander = tmp_path_factory.mktemp("bystander")
    (bystander / "models").mkdir()
    (bystander / "dbt_project.yml").write_text(
        "name: bystander\nversion: '1.0'\nprofile: default\n"
    )
    (bystander / "models" / "sales.sql").write_text("select '{{ env_var('DBT_ENV_REGION') }}' as r")
    tenants_dir = copy_tenants(dbt_hostile=HOSTILE, dbt_bystander=bystander)
    names = {"DAGSTER_PG_URI", *secrets, *(it.removeprefix("BYSTANDER__") for it in secrets)}
    names = sorted(it for it in names if not it.startswith("DBT_ENV_SECRET_"))  # dbt refuses them
    (tenants_dir / "dbt_hostile" / "apollo.yml").write_text(json.dumps({"vars": {"names": names}}))
    uri = make_database(_migrated_template)
    assert ":@" in uri, uri
    env = apollo_env(
        tenants_dir,
        **secrets,
        HOSTILE__DBT_ENV_SECRET_TOKEN=OWN,
        DAGSTER_PG_URI=uri.replace(":@", f":{PASSWORD}@", 1),
    )
    ended = subprocess.run(
        [
            *unprivileged(),
            *(
                sys.executable,
                "-m",
                "dagster_apollo.cli",
                "build",
                "bystander",
                "hostile",
                "--json",
            ),
        ],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    home = Path(env["DAGSTER_HOME"], "tenants", "hostile")
    run_id = json.loads(ended.stdout)["hostile"]["run_id"]
    with duckdb.connect(home / "hostile.duckdb", read_only=True) as connection:
        tables = "select table_schema from information_schema.tables where table_name = 'jinja'"
        (schema,) = connection.execute(tables).fetchone() or ()
        found = connection.execute(f"select variables, own_process from {schema}.jinja").fetchone()
    assert found
    python = json.loads((home / "runs" / run_id / "found.json").read_text())
    return Finds(json.loads(found[0]), found[1], python)


def leaks(found: object, secrets: dict[str, str]) -> set[str]:
    """The variables whose values are in what was found; of a key, any of its lines will do."""
    text = found if isinstance(found, str) else json.dumps(found)
    return {
        name
        for name, value in {**secrets, "DAGSTER_PG_URI": PASSWORD}.items()
        if any(line in text for line in value.splitlines() if not line.startswith("-----"))
    }


def test_the_tenant_looked_and_reads_what_is_its_own(finds: Finds) -> None:
    assert finds.python["variables"]["DBT_ENV_SECRET_TOKEN"] == OWN
    assert OWN in finds.own_process
    assert "bystander/bystander.duckdb" in " ".join(finds.python["files"])
    assert len(finds.python["processes"]) > 3
    assert finds.python["settings of the warehouse"].startswith("[(")


def test_env_var_gives_nothing_of_another_tenant_or_of_the_platform(
    finds: Finds, secrets: dict[str, str]
) -> None:
    assert {"APOLLO_SESSION_SECRET", "DAGSTER_PG_URI", "SNOWFLAKE_USER"} <= finds.jinja.keys()
    assert set(finds.jinja.values()) == {"nothing"}


@pytest.mark.parametrize("where", ["variables", "own process", "command lines", "processes"])
def test_no_process_shows_a_secret(where: str, finds: Finds, secrets: dict[str, str]) -> None:
    assert leaks(secrets, secrets) == secrets.keys(), "this would have shown them"
    assert leaks(finds.python[where], secrets) == set()


def test_the_process_that_started_dbt_cannot_be_looked_into(finds: Finds) -> None:
    assert finds.python["parent"] == "PermissionError"
    assert "IOException" in finds.python["parent by the warehouse"]


def test_of_a_running_dbt_nobody_else_can_read_the_credentials(finds: Finds) -> None:
    """Its own are those of a tenant, as another tenant's dbt would see them."""
    shown = [path for path, content in finds.python["processes"].items() if OWN in content]
    assert shown in ([], [f"/proc/{finds.python['id']}/environ"])


def test_no_file_below_the_instance_directory_or_beside_the_profile_holds_a_secret(
    finds: Finds, secrets: dict[str, str]
) -> None:
    files = finds.python["files"]
    assert any(path.endswith("profiles.yml") and "bystander" in path for path in files)
    # its data is its own: what a tenant's models make of a variable is in its tables and SQL
    data = {path for path in files if "/tenants/bystander/" in path}
    assert leaks({k: v for k, v in files.items() if k not in data}, secrets) == set()
    assert leaks([files[path] for path in data], secrets) <= {"BYSTANDER__DBT_ENV_REGION"}


def test_the_warehouse_knows_no_secret(finds: Finds, secrets: dict[str, str]) -> None:
    own = finds.own_process
    asked = [value for name, value in finds.python.items() if "warehouse" in name]
    assert len(asked) == 4
    assert leaks([own, *asked], secrets) == set()
