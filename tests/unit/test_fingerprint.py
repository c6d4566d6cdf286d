"""What makes a prepared manifest stale, what does not, and what it costs to know."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from dagster_apollo.dbt.fingerprint import Fingerprint, fingerprint, project_files
from dagster_apollo.dbt.interpreter import own_versions
from dagster_apollo.settings import TenantSettings, load

pytestmark = pytest.mark.unit

LATER = 4_000_000_000_000_000_000
"""A look so late that every file's stamp counts as settled."""


@pytest.fixture
def root(make_tenants) -> Path:
    """A tenants' directory with one project that has some of everything."""
    tenants = make_tenants({"dbt_acme": {"docs-paths": ["documents"]}})
    project = tenants / "dbt_acme"
    files = {
        "models/orders.sql": "select 1",
        "models/staging/orders.yml": "version: 2",
        "macros/cents.sql": "{% macro cents() %}{% endmacro %}",
        "seeds/countries.csv": "id\n1\n",
        "snapshots/orders.sql": "{% snapshot s %}{% endsnapshot %}",
        "tests/totals.sql": "select 1",
        "analyses/a.sql": "select 1",
        "functions/f.sql": "select 1",
        "documents/orders.md": "{% docs orders %}{% enddocs %}",
        "packages.yml": "packages:\n  - local: ../../shared\n",
        "package-lock.yml": "packages: []",
        "dependencies.yml": "projects: []",
        "selectors.yml": "selectors: []",
        "dbt_packages/utils/dbt_project.yml": "name: utils",
        "dbt_packages/utils/macros/u.sql": "select 1",
        "target/manifest.json": "{}",
        "logs/dbt.log": "line",
        "README.md": "text",
        "../../shared/dbt_project.yml": "name: shared\nmacro-paths: [jinja]",
        "../../shared/jinja/schema.sql": "select 1",
    }
    for name, content in files.items():
        write(project / name, content)
    return project


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def settings_of(project: Path, **variables: str) -> TenantSettings:
    environ = {"APOLLO_TENANTS_DIR": str(project.parent), "DAGSTER_HOME": "/nonexistent"}
    (tenant,) = load({**environ, **variables}).tenants
    return tenant


def look(project: Path, **variables: str) -> Fingerprint:
    """A look that remembers nothing."""
    return fingerprint(settings_of(project, **variables), {}, looked_at=0)


def digest(project: Path, **variables: str) -> str:
    return look(project, **variables).digest


# --- what counts -----------------------------------------------------------------------------


INPUTS = [
    "models/orders.sql",
    "models/staging/orders.yml",
    "macros/cents.sql",
    "seeds/countries.csv",
    "snapshots/orders.sql",
    "tests/totals.sql",
    "analyses/a.sql",
    "functions/f.sql",
    "documents/orders.md",
    "dbt_project.yml",
    "packages.yml",
    "package-lock.yml",
    "dependencies.yml",
    "selectors.yml",
    "dbt_packages/utils/dbt_project.yml",
    "../../shared/dbt_project.yml",
    "../../shared/jinja/schema.sql",
]


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_file_changes_the_digest_and_changing_it_back_restores_it(root, name):
    before = digest(root)
    content = (root / name).read_text()
    write(root / name, content + "\n# changed\n")
    assert digest(root) != before
    write(root / name, content)
    assert digest(root) == before


@pytest.mark.parametrize("text", ["vars: {a: 1}", "env: {FOO: bar}", "env_from: [FOO]"])
def test_the_variables_that_apollo_yml_gives_change_the_digest(root, text):
    before = digest(root, FOO="there")
    write(root / "apollo.yml", text)
    assert digest(root, FOO="there") != before
    write(root / "apollo.yml", "cron: 0 5 * * *")
    assert digest(root, FOO="there") == before


@pytest.mark.parametrize("name", [name for name in INPUTS if name != "dbt_project.yml"])
def test_a_removed_file_changes_the_digest(root, name):
    before = digest(root)
    (root / name).unlink()
    assert digest(root) != before


@pytest.mark.parametrize(
    "name",
    [
        "models/new.sql",
        "models/a/b/c/new.md",
        "macros/new.sql",
        "seeds/new.csv",
        "documents/new.md",
        "../../shared/jinja/new.sql",
        "../../shared/models/new.sql",
        "dbt_packages/other/dbt_project.yml",
    ],
)
def test_an_added_file_changes_the_digest(root, name):
    before = digest(root)
    write(root / name, "")
    assert digest(root) != before


def test_a_renamed_file_changes_the_digest(root):
    before = digest(root)
    (root / "models/orders.sql").rename(root / "models/sales.sql")
    assert digest(root) != before


def test_two_files_that_swap_their_contents_change_the_digest(root):
    write(root / "models/a.sql", "select 1 as a")
    write(root / "models/b.sql", "select 1 as b")
    before = digest(root)
    write(root / "models/a.sql", "select 1 as b")
    write(root / "models/b.sql", "select 1 as a")
    assert digest(root) != before


def test_paths_of_the_projects_own_are_followed(root):
    text = (root / "dbt_project.yml").read_text()
    write(root / "dbt_project.yml", text + "model-paths: [sql, ../../elsewhere]\n")
    write(root / "sql/a.sql", "1")
    write(root / "../../elsewhere/b.sql", "1")
    before = digest(root)
    for name in ("sql/a.sql", "../../elsewhere/b.sql"):
        write(root / name, "2")
        assert digest(root) != before
        write(root / name, "1")
    write(root / "models/orders.sql", "no longer a model")
    assert digest(root) == before


def test_a_local_package_of_a_local_package_counts(root):
    write(root / "../../shared/dependencies.yml", "packages: [{local: ../deep}]")
    write(root / "../../deep/macros/a.sql", "1")
    before = digest(root)
    write(root / "../../deep/macros/a.sql", "2")
    assert digest(root) != before


SNOWFLAKE = {"DBT_TARGET": "dev", "SNOWFLAKE_HOST": "h", "SNOWFLAKE_PORT": "1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DBT_TARGET", "prod"),
        ("DBT_THREADS", "3"),
        ("DBT_SCHEMA", "s"),
        ("DBT_PROFILE_NAME", "other"),
        ("SNOWFLAKE_ACCOUNT", "other"),
        ("SNOWFLAKE_USER", "other"),
        ("SNOWFLAKE_ROLE", "other"),
        ("SNOWFLAKE_WAREHOUSE", "other"),
        ("SNOWFLAKE_DATABASE", "other"),
        ("SNOWFLAKE_HOST", "other"),
        ("SNOWFLAKE_PORT", "2"),
        ("SNOWFLAKE_PROTOCOL", "http"),
        ("DAGSTER_HOME", "/other"),
        ("DBT_ENV_REGION", "eu"),
    ],
)
def test_a_setting_that_dbt_sees_changes_the_digest(root, connection, name, value):
    environ = {**connection, **SNOWFLAKE}
    assert digest(root, **environ) != digest(root, **{**environ, name: value})


def test_a_changed_or_removed_variable_of_the_tenants_own_changes_the_digest(root):
    found = {digest(root, DBT_ENV_X="1"), digest(root, DBT_ENV_X="2"), digest(root)}
    assert len(found) == 3


@pytest.mark.parametrize("name", ["dbt-core", "dbt-adapters", "dbt-duckdb", "dbt-snowflake"])
def test_another_version_of_dbt_changes_the_digest(root, monkeypatch, name):
    before = digest(root)
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: "0.0" if asked == name else real(asked))
    assert own_versions()[name] == "0.0"
    assert digest(root) != before


def test_another_python_changes_the_digest(root, monkeypatch):
    before = digest(root)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert digest(root) != before


def test_an_adapter_that_is_not_installed_has_no_version(monkeypatch):
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert own_versions().keys() == {"python"}


# --- what does not count ---------------------------------------------------------------------


def test_two_looks_at_the_same_project_agree(root):
    assert look(root) == look(root)


def test_a_later_modification_time_alone_does_not_change_the_digest(root):
    before = look(root)
    for name in before.files:
        os.utime(name, ns=(1, 1))
    after = fingerprint(settings_of(root), before.files, looked_at=LATER)
    assert after.digest == before.digest
    assert after.files != before.files


def test_another_private_key_or_secret_does_not_change_the_digest(
    root, connection, pem, other_pem, encrypted_pem
):
    environ = {**connection, **SNOWFLAKE}
    digests = {
        digest(root, **{**environ, "SNOWFLAKE_PRIVATE_KEY_PEM": pem}),
        digest(root, **{**environ, "SNOWFLAKE_PRIVATE_KEY_PEM": other_pem}),
        digest(
            root,
            **{
                **environ,
                "SNOWFLAKE_PRIVATE_KEY_PEM": encrypted_pem,
                "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "open sesame",
            },
        ),
        digest(root, **environ, DBT_ENV_SECRET_TOKEN="one"),
        digest(root, **environ, DBT_ENV_SECRET_TOKEN="other"),
        digest(root, **environ, DAGSTER_PG_URI="postgresql://u:p@h/d"),
    }
    assert len(digests) == 1


def test_the_look_without_a_key_agrees_with_the_look_with_one(root, connection):
    environ = {"APOLLO_TENANTS_DIR": str(root.parent), "DAGSTER_HOME": "/nonexistent"}
    environ |= {**connection, **SNOWFLAKE}
    with_key = load(environ).tenants[0]
    del environ["SNOWFLAKE_PRIVATE_KEY_PEM"]
    without = load(environ, require_keys=False).tenants[0]
    assert (
        fingerprint(with_key, {}, looked_at=0).digest
        == fingerprint(without, {}, looked_at=0).digest
    )


@pytest.mark.parametrize(
    "name",
    [
        "target/manifest.json",
        "target/compiled/models/a.sql",
        "logs/dbt.log",
        "dbt_packages/utils/macros/u.sql",
        "dbt_packages/utils/models/new.sql",
        "README.md",
        "apollo.yml",
        ".user.yml",
        "models/.orders.sql.swp",
        "models/.git/index",
        "models/__pycache__/m.pyc",
        "../../shared/README.md",
        "../../shared/target/x.json",
    ],
)
def test_what_dbt_does_not_read_does_not_change_the_digest(root, name):
    before = digest(root)
    write(root / name, "# new\n")
    assert digest(root) == before


# --- what it costs ---------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch) -> Iterator[list[str]]:
    """The names of the files that are opened to be hashed, as they are.

    Beside them every look reads the few files that say where the others are.
    """
    opened: list[str] = []
    parsed: set[str] = set()
    real_open: Callable = Path.open
    in_read_bytes: list[Path] = []

    def counting(path: Path, mode: str = "r", **options: object) -> object:
        if mode == "rb":  # settings are loaded from text
            (parsed.add if path in in_read_bytes else opened.append)(path.name)
        return real_open(path, mode, **options)

    def read_bytes(path: Path) -> bytes:
        in_read_bytes.append(path)
        try:
            with path.open("rb") as file:
                return file.read()
        finally:
            in_read_bytes.remove(path)

    monkeypatch.setattr(Path, "open", counting)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    yield opened
    assert parsed <= {"dbt_project.yml", "packages.yml", "dependencies.yml"}


def test_the_first_look_reads_every_file(root, hashed):
    found = look(root)
    assert len(hashed) == len(found.files) == len(list(project_files(root)))
    assert "orders.sql" in hashed


def test_a_file_whose_size_and_time_are_unchanged_is_not_read_again(root, hashed):
    first = look(root)
    hashed.clear()
    second = fingerprint(settings_of(root), first.files, looked_at=LATER)
    assert hashed == []
    assert second == first


def test_only_a_file_whose_size_or_time_changed_is_read_again(root, hashed):
    first = look(root)
    hashed.clear()
    os.utime(root / "macros/cents.sql", ns=(7, 7))
    path = root / "seeds/countries.csv"
    status = path.stat()
    write(path, "id\n1\n2\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = fingerprint(settings_of(root), first.files, looked_at=LATER)
    assert sorted(hashed) == ["cents.sql", "countries.csv"]
    assert second.digest != first.digest


def test_what_is_in_memory_counts_only_by_its_name(root, hashed):
    first = look(root)
    write(root / "models/new.sql", "1")
    hashed.clear()
    fingerprint(settings_of(root), first.files, looked_at=LATER)
    assert hashed == ["new.sql"]


@pytest.mark.parametrize(
    ("age", "is_read"), [(0, True), (1.9, True), (-60, True), (2.1, False), (3600, False)]
)
def test_a_file_changed_within_two_seconds_of_the_last_look_is_read_again(
    root, hashed, age, is_read
):
    """Its time may not have moved though it was changed once more, with the same size."""
    looked_at = time.time_ns()
    for path in project_files(root):
        os.utime(path, ns=(1, 1))
    path = root / "models/orders.sql"
    changed_at = looked_at - int(age * 1e9)
    os.utime(path, ns=(changed_at, changed_at))
    first = look(root)
    write(path, "select 2")
    os.utime(path, ns=(changed_at, changed_at))
    hashed.clear()
    second = fingerprint(settings_of(root), first.files, looked_at=looked_at)
    assert hashed == (["orders.sql"] if is_read else [])
    assert (second.digest != first.digest) == is_read


# --- odd projects ----------------------------------------------------------------------------


def test_a_loop_of_links_comes_to_an_end(root):
    (root / "models/again").symlink_to(root / "models")
    (root / "models/staging/up").symlink_to(root)
    (root / "models/self").symlink_to(root / "models/self")
    (root / "models/dangling.sql").symlink_to(root / "nothing")
    names = [os.path.realpath(path) for path in project_files(root)]
    assert os.path.realpath(root / "models/orders.sql") in names
    assert len(names) < 100


def test_a_linked_folder_of_models_counts(root):
    write(root / "../../elsewhere/a.sql", "1")
    (root / "models/linked").symlink_to(root / "../../elsewhere")
    before = digest(root)
    write(root / "../../elsewhere/a.sql", "2")
    assert digest(root) != before


def test_packages_that_name_each_other_come_to_an_end(root):
    write(root / "../../shared/packages.yml", "packages: [{local: ../tenants/dbt_acme}]")
    assert digest(root)


@pytest.mark.parametrize(
    "text",
    [
        "model-paths: /\n",  # the whole file system, were a text taken for a list
        "model-paths: 5\n",
        "model-paths: {a: b}\n",
        "model-paths: [5, null]\n",
        "model-paths: [nonexistent]\n",
        "vars: {from: 2024-13-01}\n",
        "model-paths: [\n",
        "\x07",
        "- a list\n",
    ],
)
def test_a_project_file_that_dbt_will_refuse_is_still_hashed(root, text):
    settings = settings_of(root)
    write(root / "dbt_project.yml", text)
    before = fingerprint(settings, {}, looked_at=0).digest
    write(root / "dbt_project.yml", text + "# changed")
    assert fingerprint(settings, {}, looked_at=0).digest != before


@pytest.mark.parametrize(
    "text",
    [
        "packages: 5",
        "packages: text",
        "packages: [text, 5]",
        "packages: [{local: 5}]",
        "packages: [{local: ../nonexistent}]",
        "packages:\n",
        "packages: [",
        "",
    ],
)
def test_packages_that_dbt_will_refuse_are_still_hashed(root, text):
    write(root / "packages.yml", text)
    before = digest(root)
    write(root / "packages.yml", text + "\n# changed")
    assert digest(root) != before


def test_a_name_that_is_not_utf_8_can_be_hashed(root):
    before = digest(root)
    try:
        (root / "models" / os.fsdecode(b"\xff.sql")).write_text("1")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert digest(root) != before
