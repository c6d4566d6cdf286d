"""Where a node lands: its config decides, DBT_SCHEMA overrides, unknown targets are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import jinja2
import pytest

from tests.tenants.support import PACKAGE, Project, succeeded


class CompilerError(Exception):
    """What dbt raises for exceptions.raise_compiler_error."""


def refuse(message: str) -> NoReturn:
    raise CompilerError(message)


def schema_for(custom: str | None, target_name: str, target_schema: str) -> str:
    """The macro itself, with the two things of dbt's that it uses; dbt strips the answer too."""
    module: Any = (
        jinja2.Environment(autoescape=False)
        .from_string((PACKAGE / "macros" / "schema_for.sql").read_text())
        .make_module(
            {
                "target": SimpleNamespace(name=target_name, schema=target_schema),
                "exceptions": SimpleNamespace(raise_compiler_error=refuse),
            }
        )
    )
    return str(module.schema_for(custom, SimpleNamespace(name="some_model"))).strip()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("target", "target_schema", "custom", "expected"),
    [
        ("local", "main", "marts", "marts"),
        ("local", "main", None, "main"),
        ("local", "scratch", "marts", "scratch"),
        ("local", "scratch", None, "scratch"),
        ("dev", "", "marts", "marts"),
        ("dev", "", None, ""),
        ("dev", "ana", "marts", "ana_marts"),
        ("dev", "ana", None, "ana"),
        ("dev", "main", "marts", "main_marts"),
        ("prod", "", "marts", "marts"),
        ("prod", "", None, ""),
        ("prod", "everything", "marts", "everything"),
        ("prod", "everything", None, "everything"),
        ("prod", "main", "marts", "main"),
        ("dev", "", "  marts ", "marts"),
        ("dev", " ana ", "marts", "ana_marts"),
        ("prod", "", "   ", ""),
    ],
)
def test_every_target_routes_as_the_table_in_the_readme_says(
    target: str, target_schema: str, custom: str | None, expected: str
) -> None:
    assert schema_for(custom, target, target_schema) == expected


@pytest.mark.unit
def test_an_unknown_target_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(CompilerError, match=r"some_model.*'staging'.*local, dev, prod"):
        schema_for("marts", "staging", "")


CONFIGURED = ("staging", "intermediate", "marts", "reference", "snapshots")


def schemas(manifest: dict[str, Any]) -> dict[str, set[str]]:
    """Schemas of models, seeds and snapshots, by the schema that their configs name."""
    found: dict[str, set[str]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] in {"model", "seed", "snapshot"}:
            found.setdefault(node["config"]["schema"], set()).add(node["schema"])
    return found


@pytest.mark.integration
def test_on_duckdb_dbt_puts_each_layer_into_its_schema(manifest: dict[str, Any]) -> None:
    assert schemas(manifest) == {name: {name} for name in CONFIGURED}


@pytest.mark.integration
def test_on_snowflake_without_a_schema_dbt_routes_by_config(prod_manifest: dict[str, Any]) -> None:
    assert schemas(prod_manifest) == {name: {name} for name in CONFIGURED}


@pytest.mark.integration
def test_a_developers_schema_is_a_prefix(project: Project) -> None:
    succeeded(project.dbt("parse", "--target", "dev", name="ana", env={"DBT_SCHEMA": "ana"}))
    found = schemas(project.artifact("manifest", "ana"))
    assert found == {name: {f"ana_{name}"} for name in CONFIGURED}


@pytest.mark.integration
def test_dbt_stops_at_a_target_it_does_not_know(project: Project) -> None:
    result = project.dbt("parse", "--target", "staging", name="unknown")
    assert result.returncode != 0
    assert "target 'staging' is unknown. Known targets: local, dev, prod" in result.stdout
