"""The williamgrant tenant, copied out of the source tree, and built once a session."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.tenants.support import PACKAGE, PROFILES, TENANT, Project, Rows, read, succeeded


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tenant and the package it shares, where they lie to each other as in the repository."""
    work = tmp_path_factory.mktemp("williamgrant")
    checkout = work / "checkout"
    leave = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb", "__pycache__")
    shutil.copytree(TENANT, checkout / "tenants" / TENANT.name, ignore=leave)
    shutil.copytree(PACKAGE, checkout / "dbt" / PACKAGE.name)
    (work / "profiles.yml").write_text(PROFILES)
    copy = Project(checkout / "tenants" / TENANT.name, work)
    succeeded(copy.dbt("deps"))
    return copy


@pytest.fixture(scope="session")
def built(project: Project) -> Project:
    """The tenant, built once on DuckDB."""
    succeeded(project.dbt("build"))
    return project


@pytest.fixture(scope="session")
def manifest(built: Project) -> dict[str, Any]:
    """The built tenant's manifest."""
    return built.artifact("manifest")


@pytest.fixture(scope="session")
def prod_manifest(project: Project) -> dict[str, Any]:
    """The manifest of the prod target, DBT_SCHEMA unset; a parse needs no warehouse."""
    succeeded(project.dbt("parse", "--target", "prod", name="prod"))
    return project.artifact("manifest", "prod")


@pytest.fixture(scope="session")
def raw() -> dict[str, Rows]:
    """The committed raw data."""
    return read(TENANT / "data")
