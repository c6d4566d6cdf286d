"""The environment contract: every variable that Apollo reads, typed, checked and documented.

`load()` is called once, when a process starts. It returns settings in which every value is valid,
or raises one ConfigurationError that lists every problem there is. Problems are composed from the
variables' names and from fixed texts; a value never appears in one.

Several tenants can share one environment. Then each tenant's SNOWFLAKE_ and DBT_ variables carry
its prefix (`WILLIAMGRANT__SNOWFLAKE_ACCOUNT`), and a plain one that could lend a tenant another's
credentials is a problem. Only DBT_TARGET and DBT_THREADS, which open nothing, may be common.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar, cast, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from dagster_apollo.errors import (
    ConfigurationError,
    KeyFault,
    PrivateKeyError,
    Problem,
    TenantError,
)
from dagster_apollo.key_forms import passes_for_path
from dagster_apollo.paths import CHECKOUT, TenantPaths
from dagster_apollo.private_key import PrivateKey, normalise
from dagster_apollo.private_key import read as read_key
from dagster_apollo.tenants import PROJECT_FILE, Tenant, find_tenants, select_tenants

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
_PASSPHRASE: Final = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"  # noqa: S105
_PASSPHRASE_FAULTS: Final = frozenset(
    {KeyFault.PASSPHRASE_WRONG, KeyFault.PASSPHRASE_MISSING, KeyFault.PASSPHRASE_SUPERFLUOUS}
)
_COMMON_TO_TENANTS: Final = frozenset({"DBT_TARGET", "DBT_THREADS"})
_PREFIXED = re.compile(r"^([A-Za-z0-9_]+?)__((?:SNOWFLAKE|DBT)_\w+)$")
OWN_VARIABLE_PREFIX: Final = "DBT_ENV_"
"""What the names of a tenant's own variables begin with; dbt's convention, secrets included."""
_TENANTS_OWN: Final = frozenset({"DBT_SCHEMA", "DBT_PROFILE_NAME"})
_ModelT = TypeVar("_ModelT", bound="_Environment")
_NameOf = Callable[[str], str]
"""From the plain name of a variable to the one that it has, or should have, in the environment."""
_TARGETS_TEXT: Final = "one of local, dev, prod"

_MENDS: Final[Mapping[str, str]] = {
    "DBT_TARGET": f"Set it to {_TARGETS_TEXT}",
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


_Line = Annotated[str, AfterValidator(_one_line)]


class _Variables(EnvSettingsSource):
    """The variables that were handed over, instead of the process's own."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables


class _Environment(BaseSettings):
    """A model whose fields are the variables of the same names in capitals."""

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


class ProcessEnvironment(_Environment):
    """The variables of the process, the same for every tenant."""

    dagster_home: Annotated[Path, AfterValidator(_absolute)] = CHECKOUT / ".dagster"
    dagster_pg_uri: Annotated[SecretStr, AfterValidator(_postgres)] | None = None
    apollo_tenants_dir: Annotated[Path, AfterValidator(_directory)] = CHECKOUT / "tenants"
    apollo_tenants: _Line = ""


class TenantEnvironment(_Environment):
    """The variables of one tenant, after its prefix (if it has one) was taken off."""

    dbt_target: Target = "local"
    dbt_profile_name: _Line | None = None
    dbt_threads: Annotated[int, Field(ge=1, le=256)] | None = None
    dbt_schema: Annotated[str, AfterValidator(_schema)] | None = None
    snowflake_account: Annotated[_Line, AfterValidator(_account)] | None = None
    snowflake_user: _Line | None = None
    snowflake_role: _Line | None = None
    snowflake_warehouse: _Line | None = None
    snowflake_database: _Line | None = None
    snowflake_host: Annotated[str, AfterValidator(_host)] | None = None
    snowflake_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    snowflake_protocol: Literal["https", "http"] | None = None
    snowflake_private_key_pem: SecretStr | None = None
    snowflake_private_key_b64: SecretStr | None = None
    snowflake_private_key_path: Path | None = Field(default=None, repr=False)
    """Not shown: people paste the key itself here."""
    snowflake_private_key_passphrase: SecretStr | None = None


@dataclass(frozen=True)
class Snowflake:
    """A connection to Snowflake; every field is checked."""

    account: str
    user: str
    role: str
    warehouse: str
    database: str
    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    private_key: PrivateKey | None = field(default=None, repr=False)
    """None only where no connection is to be made (`apollo prepare` without a key)."""


@dataclass(frozen=True)
class TenantSettings:
    """All that decides how one tenant's dbt runs.

    Args:
        tenant: the tenant.
        target: local, dev or prod.
        profile_name: the profile that profiles.yml defines and dbt is told to use.
        threads: dbt's threads.
        schema: DBT_SCHEMA, or None where the models' own configs decide.
        snowflake: the connection; None on DuckDB.
        paths: where the tenant's derived files are.
        key_is_encrypted: whether the private key came with a passphrase.
        own_variables: the tenant's own DBT_ENV_ variables, handed to its dbt as they are.
    """

    tenant: Tenant
    target: Target
    profile_name: str
    threads: int
    schema: str | None
    snowflake: Snowflake | None
    paths: TenantPaths
    key_is_encrypted: bool = False
    own_variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_production(self) -> bool:
        """Whether schedules exist and nothing is prepared implicitly."""
        return self.target == PRODUCTION


@dataclass(frozen=True)
class Settings:
    """The whole environment, checked.

    Args:
        dagster_home: the absolute path of the instance directory.
        tenants_dir: the absolute path of the tenants' directory.
        tenants: settings of the tenants that this process serves, ordered by name.
        dagster_pg_uri: Postgres of the instance, as SQLAlchemy takes it; None: SQLite files.
    """

    dagster_home: Path
    tenants_dir: Path
    tenants: tuple[TenantSettings, ...]
    dagster_pg_uri: SecretStr | None = None

    def of(self, names: Sequence[str]) -> tuple[TenantSettings, ...]:
        """The settings of the named tenants; of all where none is named.

        Raises:
            TenantError: a name that no tenant has.
        """
        chosen = select_tenants([item.tenant for item in self.tenants], names)
        return tuple(item for item in self.tenants if item.tenant in chosen)


_command_line: dict[str, str | None] = {}
"""The `--target` that `load` was called with: it decides whether `.env` counts, later on, too."""


def read_environment(target: str | None = None) -> dict[str, str]:
    """The variables that count: the process's own and, on a laptop, those of `.env`.

    The real environment wins over `.env`; production does not read it.

    Args:
        target: `--target` of the command line, which wins over DBT_TARGET.

    Raises:
        ConfigurationError: `.env` cannot be read, or sets a tenant's DBT_TARGET to prod, which
            only the real environment or the command line may do.
    """
    real = dict(os.environ)
    target = target or _command_line.get("target")
    if target == PRODUCTION or (target is None and any(_production_targets(real))):
        return real
    values = _read_dotenv(CHECKOUT / ".env")
    problems = [
        Problem(
            name,
            "is set to the production target in .env, a file for laptops",
            "Remove the line from .env; set it in the service's environment, or pass "
            "--target for a single command",
        )
        for name in _production_targets(values)
    ]
    if problems:
        raise ConfigurationError(problems)
    return {**values, **real}


def _production_targets(variables: Mapping[str, str]) -> Iterator[str]:
    """The variables, with and without a tenant's prefix, that choose production."""
    for name, value in variables.items():
        if (name == "DBT_TARGET" or name.endswith("__DBT_TARGET")) and value.strip() == PRODUCTION:
            yield name


def _read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file that have a value; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        values = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__  # the error itself holds the contents of the file
    else:
        return {name: value for name, value in values.items() if value}
    raise ConfigurationError(
        (Problem(str(path), f"cannot be read ({reason})", "Make it a readable UTF-8 file"),)
    )


def load(
    environ: Mapping[str, str] | None = None,
    *,
    target: str | None = None,
    require_keys: bool = True,
) -> Settings:
    """Read and check the whole environment contract.

    Args:
        environ: the variables; by default those that `read_environment` gives.
        target: `--target` of the command line; wins over every DBT_TARGET.
        require_keys: False where no connection will be made; a private key may then be missing,
            though one that is there must still be valid.

    Raises:
        ConfigurationError: anything is missing or wrong; it lists all problems.
        TenantError: the tenants' directory or a tenant's files are invalid.
    """
    _command_line["target"] = target
    environ = read_environment(target) if environ is None else environ
    problems: list[Problem] = []
    if target is not None and target not in TARGETS:
        problems.append(Problem("--target", "names no target", f"Give it {_TARGETS_TEXT}"))
        target = None
    process = _validate(ProcessEnvironment, environ, str, problems)
    tenants_dir = tenants_directory(process)
    try:
        found, served = _find_tenants(tenants_dir, process.apollo_tenants, problems)
    except TenantError as error:
        # whose variables they are is not known, but those with plain names can be checked
        _validate(TenantEnvironment, environ, str, problems)
        if not problems:
            raise
        problems.append(Problem("APOLLO_TENANTS_DIR", "leads to an unusable tenant", str(error)))
        raise ConfigurationError(problems) from None
    problems += _unknown_prefixes(environ, found)
    several = len(served) > 1
    loaded = [
        _load_tenant(
            tenant,
            environ,
            several=several,
            target=target,
            dagster_home=process.dagster_home,
            require_keys=require_keys,
            problems=problems,
        )
        for tenant in served
    ]
    if several:
        problems += _shared_credentials(environ, loaded)
    if problems:
        raise ConfigurationError(tuple(dict.fromkeys(problems)))
    return Settings(
        dagster_home=process.dagster_home,
        tenants_dir=tenants_dir,
        tenants=tuple(loaded),
        dagster_pg_uri=process.dagster_pg_uri,
    )


def load_process(environ: Mapping[str, str] | None = None) -> ProcessEnvironment:
    """Read and check only the variables of the process: where the instance is.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    process = _validate(ProcessEnvironment, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    return process


def tenants_directory(process: ProcessEnvironment) -> Path:
    """The absolute path of the tenants' directory; a relative one counts from the checkout."""
    # not Path.resolve(), which raises RuntimeError on a loop of links (Python 3.11)
    return Path(os.path.realpath(CHECKOUT / process.apollo_tenants_dir))


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


def _validate(
    model: type[_ModelT], variables: Mapping[str, str], name_of: _NameOf, problems: list[Problem]
) -> _ModelT:
    """Build a model; what is wrong goes to `problems`, and its default stands in for it."""
    names = {name.upper() for name in model.model_fields}
    values = {
        name: value if name.endswith("PASSPHRASE") else value.strip()
        for name, value in variables.items()
        if name in names and value.strip()
    }
    if not variables.get("DBT_TARGET", "local").strip() and "DBT_TARGET" in names:
        problems.append(Problem(name_of("DBT_TARGET"), "is set but empty", _MENDS["DBT_TARGET"]))
    try:
        return model(variables=values)  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = set()
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(item["loc"][0])
            wrong.add(name)
            problems.append(Problem(name_of(name), _what(item["type"], item["msg"]), _MENDS[name]))
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


def _find_tenants(
    tenants_dir: Path, names: str, problems: list[Problem]
) -> tuple[tuple[Tenant, ...], tuple[Tenant, ...]]:
    """The tenants that there are, and those of them that APOLLO_TENANTS chooses."""
    found = find_tenants(tenants_dir)
    wanted = [name for part in names.split(",") if (name := part.strip())]
    unknown = [name for name in wanted if name not in {tenant.name for tenant in found}]
    if unknown:
        known = ", ".join(tenant.name for tenant in found)
        problems.append(
            Problem("APOLLO_TENANTS", "names a tenant that does not exist", f"Tenants are: {known}")
        )
    known_names = [name for name in wanted if name not in unknown]
    return found, select_tenants(found, known_names)


def _unknown_prefixes(environ: Mapping[str, str], found: Sequence[Tenant]) -> Iterator[Problem]:
    prefixes = {tenant.variable_prefix for tenant in found}
    for name in sorted(environ):
        match = _PREFIXED.match(name)
        if match and f"{match[1]}__" not in prefixes:
            yield Problem(
                name,
                "begins with the prefix of no tenant",
                f"Prefixes are: {', '.join(sorted(prefixes))}",
            )


def _load_tenant(
    tenant: Tenant,
    environ: Mapping[str, str],
    *,
    several: bool,
    target: str | None,
    dagster_home: Path,
    require_keys: bool,
    problems: list[Problem],
) -> TenantSettings:
    variables, name_of = _variables_of(tenant, environ, several=several, problems=problems)
    if target is not None:
        variables["DBT_TARGET"] = target
    values = _validate(TenantEnvironment, variables, name_of, problems)
    if values.dbt_profile_name and tenant.profile_name not in {None, values.dbt_profile_name}:
        problems.append(
            Problem(
                name_of("DBT_PROFILE_NAME"),
                f"is not the profile that {tenant.project_dir / PROJECT_FILE} names",
                _MENDS["DBT_PROFILE_NAME"],
            )
        )
    return TenantSettings(
        tenant=tenant,
        target=values.dbt_target,
        profile_name=values.dbt_profile_name or tenant.profile_name or DEFAULT_PROFILE_NAME,
        threads=values.dbt_threads or DEFAULT_THREADS[values.dbt_target],
        schema=values.dbt_schema,
        snowflake=(
            None
            if values.dbt_target == "local"
            else _load_snowflake(values, name_of, require_key=require_keys, problems=problems)
        ),
        paths=TenantPaths(dagster_home, tenant.identifier, values.dbt_target),
        key_is_encrypted=bool(values.snowflake_private_key_passphrase),
        own_variables={k: v for k, v in variables.items() if k.startswith(OWN_VARIABLE_PREFIX)},
    )


def _variables_of(
    tenant: Tenant, environ: Mapping[str, str], *, several: bool, problems: list[Problem]
) -> tuple[dict[str, str], _NameOf]:
    """The tenant's variables under their plain names, and the names to speak of them with."""
    prefix = tenant.variable_prefix
    prefixed = {
        name.removeprefix(prefix): value
        for name, value in environ.items()
        if name.startswith(prefix) and _PREFIXED.match(name)
    }
    if several:
        plain = {name: environ[name] for name in _COMMON_TO_TENANTS if name in environ}
        default = prefix
    else:
        plain = {
            name: value
            for name, value in environ.items()
            if name.startswith(("SNOWFLAKE_", "DBT_")) and not _PREFIXED.match(name)
        }
        default = prefix if prefixed and not plain.keys() - _COMMON_TO_TENANTS else ""
    problems += [
        Problem(name, f"is set beside {prefix}{name}", "Keep one of the two, unset the other")
        for name in sorted((plain.keys() & prefixed.keys()) - _COMMON_TO_TENANTS)
    ]

    def name_of(name: str) -> str:
        return (prefix if name in prefixed else "" if name in plain else default) + name

    return {**plain, **prefixed}, name_of


def _load_snowflake(
    values: TenantEnvironment, name_of: _NameOf, *, require_key: bool, problems: list[Problem]
) -> Snowflake | None:
    connection = {
        name: getattr(values, f"snowflake_{name}")
        for name in ("account", "user", "role", "warehouse", "database")
    }
    reported = {problem.variable for problem in problems}
    for name, value in connection.items():
        variable = f"SNOWFLAKE_{name.upper()}"
        if value is None and name_of(variable) not in reported:
            problems.append(
                Problem(
                    name_of(variable),
                    f"is not set, and target {values.dbt_target} needs it",
                    _MENDS[variable],
                )
            )
    key = _load_key(values, name_of, required=require_key, problems=problems)
    if None in connection.values():
        return None
    return Snowflake(
        **connection,
        host=values.snowflake_host,
        port=values.snowflake_port,
        protocol=values.snowflake_protocol,
        private_key=key,
    )


def _load_key(
    values: TenantEnvironment, name_of: _NameOf, *, required: bool, problems: list[Problem]
) -> PrivateKey | None:
    given = [name for name in KEY_VARIABLES if getattr(values, name.lower()) is not None]
    if not given:
        if required:
            others = ", ".join(map(name_of, KEY_VARIABLES[1:]))
            problems.append(
                Problem(
                    name_of(KEY_VARIABLES[0]),
                    f"is not set, and target {values.dbt_target} needs a private key",
                    f"Set it to the key of the service user (or set one of {others})",
                )
            )
        return None
    variable = name_of(given[0])
    if len(given) > 1:
        others = ", ".join(map(name_of, given[1:]))
        problems.append(
            Problem(variable, f"is set beside {others}", "Keep exactly one, unset the others")
        )
        return None
    passphrase = values.snowflake_private_key_passphrase
    source = getattr(values, given[0].lower())
    try:
        raw = read_key(source) if isinstance(source, Path) else source.get_secret_value()
        return normalise(raw, passphrase.get_secret_value() if passphrase else None)
    except PrivateKeyError as error:
        at_fault = _PASSPHRASE if error.code in _PASSPHRASE_FAULTS else given[0]
        # The key's module speaks of the plain names
        mend = re.sub(r"SNOWFLAKE_\w+", lambda match: name_of(match[0]), error.mend)
        problems.append(Problem(name_of(at_fault), error.what, mend.removesuffix(".")))
        return None


def _shared_credentials(
    environ: Mapping[str, str], loaded: Sequence[TenantSettings]
) -> Iterator[Problem]:
    """Plain variables that would lend what is one tenant's own, credentials above all, to several.

    Where all are on DuckDB, no SNOWFLAKE_ variable is used, whosever it is.
    """
    on_snowflake = any(item.target != "local" for item in loaded)
    own = [OWN_VARIABLE_PREFIX, *(["SNOWFLAKE_"] if on_snowflake else [])]
    for name in sorted(environ):
        if _PREFIXED.match(name) or not environ[name].strip():
            continue
        if name.startswith(tuple(own)) or name in _TENANTS_OWN:
            names = ", ".join(f"{item.tenant.variable_prefix}{name}" for item in loaded)
            yield Problem(
                name,
                "is set for several tenants at once",
                f"Unset it; set what is needed of {names}",
            )
