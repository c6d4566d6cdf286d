"""Which Python runs a tenant's dbt, and what the uv that makes its environment is told."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.dbt.interpreter import APOLLOS_OWN, interpreter_of
from dagster_apollo.dbt.own_environment import redacted, uv_environment
from dagster_apollo.requirements import read_requirements
from dagster_apollo.settings import TenantSettings, load

pytestmark = pytest.mark.unit

HOST = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://proxy",
    "PYTHONPATH": "/apollo",
    "VIRTUAL_ENV": "/apollo",
    "DAGSTER_PG_URI": "postgresql://u:secret@h/d",
    "SNOWFLAKE_USER": "somebody",
    "UV_DEFAULT_INDEX": "https://common/index",
    "UV_INDEX_CORP_PASSWORD": "common-word",
    "UV_SYSTEM_PYTHON": "1",
    "ACME__UV_INDEX_CORP_PASSWORD": "acmes-word",
    "OTHER__UV_INDEX_CORP_PASSWORD": "others-word",
}


@pytest.fixture
def settings_of(make_tenants, tmp_path: Path):
    """The settings of a tenant with an apollo.yml: `settings_of(requirements="all.txt")`."""
    tenants = make_tenants({"acme": {}})
    (tenants / "acme" / "all.txt").write_text("dbt-core==1.10.23\n")

    def settings(variables: dict[str, str] | None = None, **config: Any) -> TenantSettings:
        (tenants / "acme" / "apollo.yml").write_text(json.dumps(config))
        places = {"APOLLO_TENANTS_DIR": str(tenants), "DAGSTER_HOME": str(tmp_path / "home")}
        (loaded,) = load({**places, **(variables or {})}).tenants
        return loaded

    return settings


def test_without_requirements_dbt_is_apollos(settings_of):
    assert interpreter_of(settings_of()) == APOLLOS_OWN
    assert APOLLOS_OWN.is_there


def test_requirements_python_and_platform_decide_which_environment_it_is(settings_of, monkeypatch):
    plain = settings_of(requirements="all.txt")
    found = [interpreter_of(plain).environment]
    found.append(interpreter_of(settings_of(requirements="all.txt", python="3.12")).environment)
    (plain.tenant.folder / "all.txt").write_text("dbt-core==1.10.24\n")
    found.append(interpreter_of(plain).environment)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    found.append(interpreter_of(plain).environment)
    assert len(set(found)) == 4
    assert all(it is not None and it.parent == plain.paths.environments for it in found)


def test_what_was_never_made_is_not_there(settings_of):
    interpreter = interpreter_of(settings_of(requirements="all.txt"))
    assert not interpreter.is_there
    assert interpreter.versions == {}


def test_a_dbt_of_the_tenants_own_is_not_led_to_apollos_packages(settings_of):
    own = dbt_environment(settings_of(requirements="all.txt"), Path("/profiles"), HOST)
    apollos = dbt_environment(settings_of(), Path("/profiles"), HOST)
    assert {"PYTHONPATH", "VIRTUAL_ENV"} & own.keys() == set()
    assert {"PYTHONPATH", "VIRTUAL_ENV"} <= apollos.keys()
    assert not [name for name in own if name.startswith("UV_")]


def test_uv_gets_what_it_needs_and_the_tenants_own_alone(settings_of):
    variables = {"DBT_ENV_SECRET_TOKEN": "t", "DBT_ENV_SECRET_UNUSED": "u", "OTHER": "x"}
    settings = settings_of(variables, requirements="all.txt", env={"GIT_SSH": "./program"})
    named = "-i https://${DBT_ENV_SECRET_TOKEN}@h/index\n"
    (settings.tenant.folder / "all.txt").write_text(named)
    requirements = read_requirements(settings.tenant.folder, settings.tenant.config)
    assert requirements
    found = uv_environment(settings, requirements, HOST)
    assert {"GIT_SSH", "DBT_ENV_SECRET_UNUSED"} & found.keys() == set()
    assert found["UV_INDEX_CORP_PASSWORD"] == "acmes-word"
    assert found["UV_DEFAULT_INDEX"] == "https://common/index"
    assert found["DBT_ENV_SECRET_TOKEN"] == "t"
    assert found["UV_NO_CONFIG"] == "1"
    assert (found["PATH"], found["HTTPS_PROXY"]) == ("/bin", "http://proxy")
    kept = {"PYTHONPATH", "VIRTUAL_ENV", "DAGSTER_PG_URI", "SNOWFLAKE_USER", "UV_SYSTEM_PYTHON"}
    assert kept & found.keys() == set()
    assert not [name for name in found if "__" in name]
    assert "others-word" not in found.values()


def test_no_credential_is_left_in_what_uv_says(settings_of):
    variables = {"DBT_ENV_SECRET_TOKEN": "tok/en", "PLACE": "attic-9"}
    settings = settings_of(variables, requirements="all.txt", env_from=["PLACE"])
    said = redacted(
        "error: https://reader:w0rd@h/index/?key=k3y failed; tok/en, attic-9, common-word",
        settings,
        HOST,
    )
    assert said == "error: https://***@h/index/?*** failed; ***, ***, ***"
