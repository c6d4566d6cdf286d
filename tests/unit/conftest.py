"""Tenants' directories made to order, and a private key of this session."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

MakeTenants = Callable[..., Path]


def _pem(encryption: serialization.KeySerializationEncryption) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.fixture(scope="session")
def pem() -> str:
    """An RSA private key, made anew for each session and never written to the checkout."""
    return _pem(serialization.NoEncryption())


@pytest.fixture(scope="session")
def other_pem() -> str:
    return _pem(serialization.NoEncryption())


@pytest.fixture(scope="session")
def encrypted_pem() -> str:
    """A key that the passphrase `open sesame` opens."""
    return _pem(serialization.BestAvailableEncryption(b"open sesame"))


@pytest.fixture
def make_tenants(tmp_path: Path) -> MakeTenants:
    """Make a tenants' directory: `make_tenants({"dbt_acme": {"profile": "acme"}})`.

    Each key is a folder, its value what its dbt_project.yml says beside `name`; a text is the whole
    file, None makes a folder without one. `apollo` gives folders an apollo.yml.
    """

    def make(
        project: Mapping[str, Mapping[str, object] | str | None] | None = None,
        *,
        apollo: Mapping[str, str] | None = None,
        at: str = "tenants",
    ) -> Path:
        root = tmp_path / at
        root.mkdir(exist_ok=True)
        for folder, content in (project if project is not None else {"dbt_acme": {}}).items():
            (root / folder).mkdir()
            if content is None:
                continue
            name = folder.removeprefix("dbt_").replace("-", "_")
            text = (
                content
                if isinstance(content, str)
                else yaml.safe_dump({"name": name, **content}, sort_keys=False)
            )
            (root / folder / "dbt_project.yml").write_text(text, encoding="utf-8")
        for folder, text in (apollo or {}).items():
            (root / folder / "apollo.yml").write_text(text, encoding="utf-8")
        return root

    return make


@pytest.fixture
def base(make_tenants: MakeTenants, tmp_path: Path) -> dict[str, str]:
    """An environment that is valid and as small as it can be: one tenant, acme, on DuckDB."""
    return {
        "APOLLO_TENANTS_DIR": str(make_tenants()),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }


@pytest.fixture(scope="session")
def connection(pem: str) -> dict[str, str]:
    """The variables of a Snowflake tenant, each value distinct enough to search for."""
    return {
        "SNOWFLAKE_ACCOUNT": "orgzq-accountzq",
        "SNOWFLAKE_USER": "USERZQ",
        "SNOWFLAKE_ROLE": "ROLEZQ",
        "SNOWFLAKE_WAREHOUSE": "WAREHOUSEZQ",
        "SNOWFLAKE_DATABASE": "DATABASEZQ",
        "SNOWFLAKE_PRIVATE_KEY_PEM": pem,
    }


@pytest.fixture
def dev(base: dict[str, str], connection: dict[str, str]) -> dict[str, str]:
    """A valid environment with the one tenant on Snowflake."""
    return {**base, **connection, "DBT_TARGET": "dev"}


@pytest.fixture
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process without the contract's variables; `.setenv` adds those that a test is about."""
    for name in list(os.environ):
        if name.startswith(("DBT_", "SNOWFLAKE_", "DAGSTER_", "APOLLO_")) or "__" in name:
            monkeypatch.delenv(name)
    return monkeypatch
