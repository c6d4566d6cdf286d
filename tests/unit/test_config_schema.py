"""The JSON schema of apollo.yml: it is up to date, and is of one mind with the model."""

import json
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from dagster_apollo.config_schema import SCHEMA_FILE, schema_text
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.tenant_config import CONFIG_FILE, TenantConfig

pytestmark = pytest.mark.unit

VALID: list[dict[str, Any]] = [
    {},
    {"cron": "0 5 * * *", "timezone": "Europe/London", "owners": ["team:data", "a@b.co"]},
    {"alert_route": "pager", "pool_limit": 3},
    {"root": "transform", "vars": {"a": [1, {"b": None}]}},
    {"requirements": "dbt/requirements.txt", "python": "3.12"},
    {"env": {"A": "text", "B": "5"}, "env_from": ["E"]},
]
INVALID: list[dict[str, Any]] = [
    {"schedule": "daily"},
    {"cron": 6},
    {"owners": "team:data"},
    {"pool_limit": 0},
    {"root": ["a"]},
    {"vars": ["a"]},
    {"requirements": ["dbt-core"]},
    {"requirements": "all.txt", "python": 3.1},
    {"python": "3.12"},
    {"env": {"A": None}},
    {"env": {"A": False}},
    {"env": {"A": 83}},
    {"env": {"A": ["a"]}},
    {"env_from": "A"},
]


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def test_the_committed_schema_is_that_of_the_model():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run `make schema`"


def test_it_is_a_schema_in_which_every_key_is_explained(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"].keys() == TenantConfig.model_fields.keys()
    assert all(key["description"] for key in schema["properties"].values())


@pytest.mark.parametrize("config", VALID)
def test_what_the_model_takes_it_takes(schema, config):
    TenantConfig.model_validate(config)
    jsonschema.validate(config, schema)


@pytest.mark.parametrize("config", INVALID)
def test_what_is_of_the_wrong_shape_neither_takes(schema, config):
    with pytest.raises(ValidationError):
        TenantConfig.model_validate(config)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, schema)


@pytest.mark.parametrize(
    "path",
    sorted((CHECKOUT / "tenants").glob(f"*/{CONFIG_FILE}")),
    ids=lambda path: path.parent.name,
)
def test_the_tenants_of_the_checkout_name_it_to_the_editor_and_pass(schema, path):
    text = path.read_text(encoding="utf-8")
    first = text.partition("\n")[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == SCHEMA_FILE
    jsonschema.validate(yaml.safe_load(text), schema)
