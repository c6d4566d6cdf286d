"""The environment contract: every variable that Apollo reads, with its type, default and mend.

A model checks the variables of one process or of one tenant. Problems are composed from the
variables' names and from fixed texts; a value never appears in one.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, TypeVar, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from dagster_apollo.errors import Problem
from dagster_apollo.key_forms import passes_for_path
from dagster_apollo.paths import CHECKOUT

Target = Literal["local", "dev", "prod"]
TARGETS: Final = get_args(Target)
PRODUCTION: Final = "prod"
DEFAULT_PROFILE_NAME: Final = "apollo-snowflake"
DEFAULT_THREADS: Final[Mapping[str, int]] = {"local": 4, "dev": 8, "prod": 24}
KEY_VARIABLES: Final = (
    "SNOWFLAKE_PRIVATE_KEY_PEM",
    "SNOWFLAKE_PRIVATE_KEY_B64",
    "SNOWFLAKE_PRIVATE_KEY_PATH",
)
_ModelT = TypeVar("_ModelT", bound="Environment")
NameOf = Callable[[str], str]
"""From the plain name of a variable to the one that it has, or should have, in the environment."""
TARGETS_TEXT: Final = "one of local, dev, prod"

MENDS: Final[Mapping[str, str]] = {
    "DBT_TARGET": f"Set it to {TARGETS_TEXT}",
    "DBT_THREADS": "Set it to a whole number from 1 to 256",
    "DBT_SCHEMA": "Set it to a plain schema name (letters, digits, _), or unset it",
    "DBT_PROFILE_NAME": "Set it to the profile that dbt_project.yml names, or unset it",
    "SNOWFLAKE_ACCOUNT": "Set it to the account identifier, such as myorg-myaccount",
    "SNOWFLAKE_USER": "Set it to the name of the service user",
    "SNOWFLAKE_ROLE": "Set it to the role that dbt is to assume",
    "SNOWFLAKE_WAREHOUSE": "Set it to the warehouse that runs dbt's queries",
    "SNOWFLAKE_DATABASE": "Set it to the database that dbt builds in",
    "SNOWFLAKE_HOST": "Set it to a host name without scheme or path, or unset it",
    "SNOWFLAKE_PORT": "Set it to a port number from 1 to 65535, or unset it",
    "SNOWFLAKE_PROTOCOL": "Set it to https (or http, for an emulator), or unset it",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "Set it to the passphrase of the private key, or unset it",
    "DAGSTER_HOME": "Set it to the absolute path of the instance directory, or unset it",
    "DAGSTER_PG_URI": "Set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or unset it",
    "APOLLO_TENANTS_DIR": "Set it to the directory that holds the dbt projects, or unset it",
    "APOLLO_TENANTS": "Set it to comma-separated names of tenants, or unset it",
    "APOLLO_COMPUTE_LOGS_MAX_BYTES": "Set it to a number of bytes, 65536 or more, or unset it",
    "APOLLO_COMPUTE_LOGS_S3_BUCKET": "Set it to the name of a bucket, or unset it",
    "APOLLO_COMPUTE_LOGS_S3_PREFIX": "Set it to the first part of the keys, or unset it",
    "APOLLO_COMPUTE_LOGS_S3_ENDPOINT_URL": "Set it to the URL of the S3 service, or unset it",
    "APOLLO_COMPUTE_LOGS_S3_REGION": "Set it to the region of the bucket, or unset it",
}


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a line break or a control character")
    if value.startswith("<") and value.endswith(">"):
        raise ValueError("is still the placeholder of an example")
    return value


def _account(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value, re.ASCII):
        raise ValueError("is not an account identifier (not a URL, no blanks)")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value, re.ASCII):
        raise ValueError("is not a host name")
    return value


def _schema(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII):
        raise ValueError("is not a plain schema name")
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("is not an absolute path")
    return value


def _directory(value: Path) -> Path:
    """Refuse a key that was pasted for a path: paths are shown when they lead nowhere."""
    if not passes_for_path(os.fspath(value)):
        raise ValueError("is not a path")
    return value


def _postgres(value: SecretStr) -> SecretStr:
    return SecretStr(normalise_postgres_uri(value.get_secret_value()))


Line = Annotated[str, AfterValidator(_one_line)]
"""A text on one line, which is not the placeholder of an example."""


class _Variables(EnvSettingsSource):
    """The variables that were handed over, instead of the process's own."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables


class Environment(BaseSettings):
    """A model whose fields are the variables of the same names in capitals."""

    mends: ClassVar[Mapping[str, str]] = MENDS
    """What to do about a value that is not valid, by the variable's plain name."""

    model_config = SettingsConfigDict(
        frozen=True,
        alias_generator=str.upper,
        case_sensitive=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the mapping given as `variables=` and nothing else."""
        variables = cast("InitSettingsSource", init_settings).init_kwargs["variables"]
        return (_Variables(settings_cls, variables),)


class ProcessEnvironment(Environment):
    """The variables of the process, the same for every tenant."""

    dagster_home: Annotated[Path, AfterValidator(_absolute)] = CHECKOUT / ".dagster"
    dagster_pg_uri: Annotated[SecretStr, AfterValidator(_postgres)] | None = None
    apollo_tenants_dir: Annotated[Path, AfterValidator(_directory)] = CHECKOUT / "tenants"
    apollo_tenants: Line = ""

    @property
    def served(self) -> tuple[str, ...]:
        """The names of the tenants that APOLLO_TENANTS chooses; none: all."""
        return tuple(name for part in self.apollo_tenants.split(",") if (name := part.strip()))


class ComputeLogEnvironment(Environment):
    """The variables that say how the production instance keeps what runs print."""

    apollo_compute_logs_max_bytes: Annotated[int, Field(ge=65_536)] = 10 * 1024 * 1024
    """Bytes kept of one log (the stdout or stderr of a run): its beginning and its end."""
    apollo_compute_logs_s3_bucket: Line | None = None
    apollo_compute_logs_s3_prefix: Line = "dagster"
    apollo_compute_logs_s3_endpoint_url: Line | None = None
    apollo_compute_logs_s3_region: Line | None = None


class TenantEnvironment(Environment):
    """The variables of one tenant, after its prefix (if it has one) was taken off."""

    dbt_target: Target = "local"
    dbt_profile_name: Line | None = None
    dbt_threads: Annotated[int, Field(ge=1, le=256)] | None = None
    dbt_schema: Annotated[str, AfterValidator(_schema)] | None = None
    snowflake_account: Annotated[Line, AfterValidator(_account)] | None = None
    snowflake_user: Line | None = None
    snowflake_role: Line | None = None
    snowflake_warehouse: Line | None = None
    snowflake_database: Line | None = None
    snowflake_host: Annotated[str, AfterValidator(_host)] | None = None
    snowflake_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    snowflake_protocol: Literal["https", "http"] | None = None
    snowflake_private_key_pem: SecretStr | None = None
    snowflake_private_key_b64: SecretStr | None = None
    snowflake_private_key_path: Path | None = Field(default=None, repr=False)
    """Not shown: people paste the key itself here."""
    snowflake_private_key_passphrase: SecretStr | None = None


def validate(
    model: type[_ModelT], variables: Mapping[str, str], name_of: NameOf, problems: list[Problem]
) -> _ModelT:
    """Build a model; what is wrong goes to `problems`, and its default stands in for it."""
    names = {name.upper() for name in model.model_fields}
    values = {
        name: value if name.endswith("PASSPHRASE") else value.strip()
        for name, value in variables.items()
        if name in names and value.strip()
    }
    if not variables.get("DBT_TARGET", "local").strip() and "DBT_TARGET" in names:
        problems.append(Problem(name_of("DBT_TARGET"), "is set but empty", MENDS["DBT_TARGET"]))
    try:
        return model(variables=values)  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = set()
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(item["loc"][0])
            wrong.add(name)
            problems.append(
                Problem(name_of(name), _what(item["type"], item["msg"]), model.mends[name])
            )
        return model(  # type: ignore[call-arg]
            variables={k: v for k, v in values.items() if k not in wrong}
        )


def _what(error_type: str, message: str) -> str:
    """The fixed text for a kind of pydantic error; its own message may quote the input."""
    if error_type == "value_error":
        return message.removeprefix("Value error, ")  # a text of this module's validators
    if error_type == "literal_error":
        return "has a value that is not known"
    if error_type.startswith("int_"):
        return "is not a whole number"
    if error_type.startswith(("greater_than", "less_than")):
        return "is out of range"
    return "has an invalid value"


def normalise_postgres_uri(uri: str) -> str:
    """The same database in the one spelling that SQLAlchemy 2.1 opens with psycopg2.

    Plain `postgresql://` means psycopg 3 there, which dagster-postgres does not install, and
    `postgres://`, which hosts hand out, is not known to it at all. Parameters (TLS) are kept.

    Raises:
        ValueError: not the URI of a Postgres database.
    """
    if not uri.isprintable():  # urlsplit would drop a line break, SQLAlchemy keeps it
        raise ValueError("holds a line break or a control character")
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg2"}:
        raise ValueError("is not a postgresql:// URI")
    try:
        parts = urlsplit(f"postgresql://{rest}")
        _ = parts.port
    except ValueError:
        raise ValueError("is not a valid URI (percent-encode special characters)") from None
    if not parts.hostname and "host=" not in parts.query:
        raise ValueError("names no host")
    if not parts.path.strip("/"):
        raise ValueError("names no database")
    return f"postgresql+psycopg2://{rest}"
