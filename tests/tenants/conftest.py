"""The williamgrant tenant, copied out of the source tree, and built once a run of all workers."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tenants.support import PACKAGE, PROFILES, TENANT, Project, Rows, read, succeeded


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all workers of a run share, made by whichever comes first; it stays as it is.

    A worker of pytest-xdist has its temporary folder within the one of the run.
    """
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / f"shared-{name}"
    with (shared / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a worker that failed has left
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


def checked_out(work: Path) -> Project:
    """The tenant and the package it shares, where they lie to each other as in the repository."""
    checkout = work / "checkout"
    leave = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb", "__pycache__")
    shutil.copytree(TENANT, checkout / "tenants" / TENANT.name, ignore=leave)
    shutil.copytree(PACKAGE, checkout / "dbt" / PACKAGE.name)
    (work / "profiles.yml").write_text(PROFILES)
    copy = Project(checkout / "tenants" / TENANT.name, work)
    succeeded(copy.dbt("deps"))
    return copy


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the tenant, for this worker alone."""
    return checked_out(tmp_path_factory.mktemp("williamgrant"))


@pytest.fixture(scope="session")
def built(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tenant, built on DuckDB once a run; the warehouse is this worker's own copy."""
    work = once(
        tmp_path_factory, "built", lambda folder: succeeded(checked_out(folder).dbt("build"))
    )
    original = replace(project, work=work)
    shutil.copy(original.duckdb_path, project.duckdb_path)
    shutil.copytree(original.target(), project.target())
    return project


@pytest.fixture(scope="session")
def manifest(built: Project) -> dict[str, Any]:
    """The built tenant's manifest."""
    return built.artifact("manifest")


@pytest.fixture(scope="session")
def prod_manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The manifest of the prod target, DBT_SCHEMA unset; a parse needs no warehouse."""

    def parse(folder: Path) -> None:
        succeeded(checked_out(folder).dbt("parse", "--target", "prod", name="prod"))

    work = once(tmp_path_factory, "prod", parse)
    return Project(work, work).artifact("manifest", "prod")


@pytest.fixture(scope="session")
def raw() -> dict[str, Rows]:
    """The committed raw data."""
    return read(TENANT / "data")
