"""What decides a tenant's own environment: the files that its requirements consist of."""

from pathlib import Path

import pytest

from dagster_apollo.errors import TenantError
from dagster_apollo.requirements import Requirements, read_requirements
from dagster_apollo.tenant_config import TenantConfig

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "all.txt").write_text("-r base.txt  # the rest\n-c ../limits.txt\n")
    (tmp_path / "packages" / "base.txt").write_text("dbt-core==1.10.23\n./own.whl\n")
    (tmp_path / "packages" / "own.whl").write_bytes(b"wheel")
    (tmp_path / "limits.txt").write_text("duckdb<3\n")
    return tmp_path


def read(folder: Path, **config: object) -> Requirements:
    named = {"requirements": "packages/all.txt", **config}
    requirements = read_requirements(folder, TenantConfig.model_validate(named))
    assert requirements is not None
    return requirements


def test_a_tenant_that_names_none_has_none(folder):
    assert read_requirements(folder, TenantConfig()) is None


def test_what_does_not_change_has_one_digest(folder):
    assert read(folder) == read(folder)


@pytest.mark.parametrize(
    "file", ["packages/all.txt", "packages/base.txt", "packages/own.whl", "limits.txt"]
)
def test_each_file_that_is_included_counts(folder, file):
    before = read(folder).digest
    with (folder / file).open("a") as opened:
        opened.write("\n# another\n")
    assert read(folder).digest != before


def test_hashes_are_seen_wherever_they_are(folder):
    assert not read(folder).has_hashes
    (folder / "packages" / "base.txt").write_text("dbt-core==1.10.23 \\\n    --hash=sha256:00\n")
    assert read(folder).has_hashes


def test_files_may_include_one_another(folder):
    (folder / "limits.txt").write_text("--requirement=packages/all.txt\n")
    assert read(folder).digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-r missing.txt", ("missing.txt", "No such file")),
        ("-r https://example.com/all.txt", ("from elsewhere",)),
        ("-e ../package", ("editable", "Build a wheel")),
        ("--editable=../package", ("editable",)),
        ("--no-binary own", ("--no-binary", "only wheels")),
        ("# a comment \\\n--no-binary=:all:", ("--no-binary",)),
        ("# a comment \\\nx @ https://${DAGSTER_PG_URI}@h/x.whl", ("DAGSTER_PG_URI",)),
        ("x @ git+ssh://${GIT_SSH}@h/x.git", ("GIT_SSH", "fetched")),
        ("x @ https://u:${DAGSTER_PG_URI}@h/x.whl", ("DAGSTER_PG_URI", "DBT_ENV_", "env_from")),
        ("-i \\\n  https://${UV_INDEX_CORP_PASSWORD}@h/", ("UV_INDEX_CORP_PASSWORD",)),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_file(folder, line, said):
    (folder / "packages" / "base.txt").write_text(f"{line}\n")
    with pytest.raises(TenantError) as raised:
        read(folder, env={"GIT_SSH": "./program"})
    assert [text for text in ("base.txt", *said) if text not in str(raised.value)] == []


def test_the_tenants_own_variables_may_be_in_an_address(folder):
    (folder / "packages" / "base.txt").write_text(
        "-i https://${DBT_ENV_SECRET_TOKEN}@${HOST}/${PLACE}  # ${NOT_READ}\n"
    )
    found = read(folder, env={"HOST": "h", "OTHER": "o"}, env_from=["PLACE"])
    assert found.variables == {"DBT_ENV_SECRET_TOKEN", "HOST", "PLACE"}


def test_what_uv_would_read_as_a_project_is_refused(folder):
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    with pytest.raises(TenantError, match=r"pyproject.toml, whose name does not end in .txt"):
        read(folder, requirements="pyproject.toml")


def test_a_file_that_is_no_text_is_refused(folder):
    (folder / "limits.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TenantError, match="UTF-8"):
        read(folder)
