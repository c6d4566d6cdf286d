"""Where in a tenant's folder the dbt project is found."""

from pathlib import Path

import pytest

from dagster_apollo.errors import TenantError
from dagster_apollo.tenants import Tenant, load_tenant

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(make_tenants) -> Path:
    """A tenant's folder that holds nothing yet."""
    return make_tenants({"dbt_acme": None}) / "dbt_acme"


def add_projects(folder: Path, *places: str, text: str = "name: acme") -> None:
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "dbt_project.yml").write_text(text)


def root_of(folder: Path, apollo: str | None = None) -> str:
    """The root that is found, relative to the folder."""
    if apollo is not None:
        (folder / "apollo.yml").write_text(apollo)
    tenant: Tenant = load_tenant(folder)
    assert (tenant.name, tenant.folder) == ("acme", folder)
    return tenant.project_dir.relative_to(folder).as_posix()


@pytest.mark.parametrize("place", ["transform", "dbt", "warehouse/my dbt"])
def test_the_only_project_is_found(folder, place):
    add_projects(folder, place)
    assert root_of(folder) == place
    assert root_of(folder, "cron: 0 5 * * *") == place


def test_the_folders_own_project_wins(folder):
    add_projects(folder, ".", "integration_tests", "other")
    assert root_of(folder) == "."


@pytest.mark.parametrize(
    "other",
    [
        "transform/integration_tests",
        "transform/dbt_packages/utils",
        "dbt_packages/utils",
        "target/compiled",
        "web/node_modules/thing",
        ".venv/lib/dbt/include/starter_project",
        "venv/lib/site-packages/dbt",
        "env/lib/site-packages/dbt",
        ".cache/copy",
    ],
)
def test_a_project_that_is_none_of_the_tenants_does_not_count(folder, other):
    add_projects(folder, "transform", other)
    assert root_of(folder) == "transform"


def test_what_dbt_deps_installed_elsewhere_does_not_count(folder):
    add_projects(folder, "transform", text="name: acme\npackages-install-path: ../packages")
    add_projects(folder, "packages/utils", "packages/codegen")
    assert root_of(folder) == "transform"


def test_a_link_round_in_a_circle_is_not_followed(folder):
    add_projects(folder, "transform")
    (folder / "again").symlink_to(folder)
    (folder / "dangling").symlink_to(folder / "nowhere")
    assert root_of(folder) == "transform"


def test_several_are_an_error_that_lists_them_with_the_line_to_add(folder):
    add_projects(folder, "b/core", "a")
    with pytest.raises(TenantError) as caught:
        root_of(folder)
    text = str(caught.value)
    assert "several dbt projects: a, b/core." in text
    assert f"`root: a` to {folder / 'apollo.yml'}" in text
    assert root_of(folder, "root: b/core") == "b/core"


def test_none_is_an_error_that_says_what_is_missing(folder):
    with pytest.raises(TenantError, match=r"/dbt_acme holds no dbt project.*dbt_project\.yml"):
        root_of(folder)


def test_what_is_declared_wins_over_the_folders_own(folder):
    add_projects(folder, ".", "transform")
    assert root_of(folder, "root: transform") == "transform"
    assert root_of(folder, "root: .") == "."


def test_a_declared_root_without_a_project_is_named(folder):
    add_projects(folder, "transform")
    with pytest.raises(TenantError, match=r"apollo\.yml says `root: trasnform`, where there is no"):
        root_of(folder, "root: trasnform")


@pytest.mark.parametrize("root", ["..", "../other", "a/../../b", "/etc", "''", "' '", "[a]"])
def test_a_root_outside_of_the_folder_is_refused(folder, root):
    add_projects(folder, "transform", "../other")
    with pytest.raises(TenantError, match=r"apollo\.yml is not valid: root: "):
        root_of(folder, f"root: {root}")


def test_a_link_out_of_the_folder_is_refused(folder):
    add_projects(folder, "../other")
    (folder / "transform").symlink_to(folder.parent / "other")
    with pytest.raises(TenantError, match="a link leads out of"):
        root_of(folder, "root: transform")


def test_apollo_yml_lies_in_the_folder_not_in_the_root(folder):
    add_projects(folder, "transform")
    (folder / "transform" / "apollo.yml").write_text("cron: not read")
    assert root_of(folder) == "transform"
