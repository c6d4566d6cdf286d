"""Tenants made of tests/projects, with what cannot be committed: odd file names, links, hundreds.

beside/              folders that projects reach by `../`, beside the tenants' directory
every_kind/          each kind of node that dbt knows, with macros and a materialization of its
                     own; a profile `default` and a profiles.yml that leads nowhere; old links
odd_names/           names that Dagster refuses, paths and packages that leave the project
collisions/          nodes and sources that ask for one key, a package with tests of its own
dagster_meta/        `meta.dagster` of projects that ran in another Dagster
seeds_as_sources/    seeds that are read through source(); twice, as tenants `a-b` and `c d`
fails_halfway/       warnings, failures, and hundreds of skips
never_starts/        a hook that fails: no results at all
"""

import shutil
from pathlib import Path
from typing import Final

from dagster_apollo.paths import CHECKOUT

PROJECTS: Final = CHECKOUT / "tests" / "projects"
SKIPPED: Final = 200
TESTS: Final = 200
LONG: Final = "long_" * 80
"""400 characters; what becomes the name of a file may have 255."""

FOLDERS: Final = {
    "every_kind": "every_kind",
    "odd_names": "odd_names",
    "collisions": "collisions",
    "dbt_meta": "dagster_meta",
    "fails_halfway": "fails_halfway",
    "never_starts": "never_starts",
    "a-b": "seeds_as_sources",
    "dbt_c d": "seeds_as_sources",
}
"""The tenants' folders, each with the project that it is a copy of."""


def make_tenants(root: Path) -> Path:
    """Make the tenants' directory below a folder, with what is beside it."""
    shutil.copytree(PROJECTS / "beside", root / "beside")
    tenants = root / "tenants"
    for folder, project in FOLDERS.items():
        shutil.copytree(PROJECTS / project, tenants / folder)
    _add_links_and_leftovers(tenants / "every_kind")
    _add_odd_names(tenants / "odd_names")
    _add_hundreds(tenants / "fails_halfway")
    return tenants


def _add_links_and_leftovers(project: Path) -> None:
    (project / "models" / "notes.txt").symlink_to("no_such_file.txt")
    (project / "models" / "dangling_folder").symlink_to("/no/such/folder")
    outside = project.parents[1] / "beside" / "models" / "from_beside.sql"
    (project / "models" / "linked.sql").symlink_to(outside.resolve())
    (project / "target").mkdir()
    (project / "target" / "manifest.json").write_text('{"nodes": "of an older dbt"}')
    (project / "target" / "partial_parse.msgpack").write_bytes(b"\xff of an older dbt")


def _add_odd_names(project: Path) -> None:
    folder = project / "models" / "spaced out"
    folder.mkdir()
    models = {
        "été à la plage": "select 1 as order_id",
        "it's": "select * from {{ ref('été à la plage') }}",
        "売上": """select * from {{ ref("it's") }}""",
        "費用": "select 2 as order_id",
        LONG[:200]: f"select * from {{{{ source('far', '{LONG}') }}}}",
    }
    for name, sql in models.items():
        (folder / f"{name}.sql").write_text(sql)
    (project / "tests").mkdir()
    (project / "tests" / "nothing's (wrong) here.sql").write_text(
        "select * from {{ ref('context') }} where order_id is null"
    )
    columns = "columns: [{name: order_id, data_tests: [unique, not_null]}]"
    (folder / "schema.yml").write_text(
        f"""
groups: [{{name: {LONG}, owner: {{name: {LONG}, email: {LONG}}}}}]
sources:
  - name: far
    schema: lake
    tables: [{{name: {LONG}, identifier: all the tables, {columns}}}]
models:
  - {{name: été à la plage, {columns}}}
  - {{name: 売上, {columns}}}
  - {{name: 費用, {columns}}}
  - name: {LONG[:200]}
    config: {{group: {LONG}, tags: [{LONG}], meta: {{{LONG}: {LONG}}}}}
    columns:
      - name: order_id
        data_tests: [unique, not_null: {{name: {LONG[:240]}}}]
"""
    )


def _add_hundreds(project: Path) -> None:
    folder = project / "models" / "hundreds"
    folder.mkdir()
    for number in range(SKIPPED):
        (folder / f"after_{number}.sql").write_text("select * from {{ ref('breaks') }}")
    tests = "\n".join(
        f"          - accepted_values: {{name: id_is_not_{number}, arguments: {{values: [1]}}}}"
        for number in range(TESTS)
    )
    (folder / "tested.sql").write_text("select 1 as id")
    (folder / "schema.yml").write_text(
        f"models:\n  - name: tested\n    columns:\n      - name: id\n        data_tests:\n{tests}\n"
    )
