"""The environment, read once: what decides how Apollo and each tenant's dbt run.

`load()` is called when a process starts. It returns settings in which every value is valid, or
raises one ConfigurationError that lists every problem there is.

Several tenants can share one environment. Then each tenant's SNOWFLAKE_ and DBT_ variables carry
its prefix (`WILLIAMGRANT__SNOWFLAKE_ACCOUNT`), and a plain one that could lend a tenant another's
credentials is a problem. Only DBT_TARGET and DBT_THREADS, which open nothing, may be common.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import SecretStr

from dagster_apollo.contract import (
    DEFAULT_PROFILE_NAME,
    DEFAULT_THREADS,
    KEY_VARIABLES,
    MENDS,
    PRODUCTION,
    TARGETS,
    TARGETS_TEXT,
    ComputeLogEnvironment,
    Environment,
    NameOf,
    ProcessEnvironment,
    Target,
    TenantEnvironment,
    validate,
)
from dagster_apollo.environment import note_target, read_environment
from dagster_apollo.errors import (
    ConfigurationError,
    KeyFault,
    PrivateKeyError,
    Problem,
    TenantError,
)
from dagster_apollo.own_variables import OWN_VARIABLE_PREFIX, is_platform_variable
from dagster_apollo.paths import CHECKOUT, TenantPaths
from dagster_apollo.private_key import PrivateKey, normalise
from dagster_apollo.private_key import read as read_key
from dagster_apollo.tenant_root import PROJECT_FILE
from dagster_apollo.tenants import (
    Tenant,
    TenantFolder,
    find_folders,
    load_or_fault,
    select_tenants,
)

_ModelT = TypeVar("_ModelT", bound=Environment)
_PASSPHRASE: Final = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"  # noqa: S105
_PASSPHRASE_FAULTS: Final = frozenset(
    {KeyFault.PASSPHRASE_WRONG, KeyFault.PASSPHRASE_MISSING, KeyFault.PASSPHRASE_SUPERFLUOUS}
)
_COMMON_TO_TENANTS: Final = frozenset({"DBT_TARGET", "DBT_THREADS"})
_PREFIXED = re.compile(r"^([A-Za-z0-9_]+?)__((?:SNOWFLAKE|DBT)_\w+)$")
_TENANTS_OWN: Final = frozenset({"DBT_SCHEMA", "DBT_PROFILE_NAME"})


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
        own_variables: the tenant's own variables, handed to its dbt as they are: those that its
            apollo.yml gives or lets pass, and DBT_ENV_ ones.
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

    @property
    def pool(self) -> str:
        """The Dagster pool that each of the tenant's runs takes a place in."""
        return f"{self.tenant.identifier}_dbt"

    @property
    def pool_limit(self) -> int | None:
        """The places in the pool; None where the instance's own limit counts.

        A DuckDB file takes one writing process, whatever apollo.yml says.
        """
        return 1 if self.target == "local" else self.tenant.config.pool_limit


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


def load(
    environ: Mapping[str, str] | None = None,
    *,
    names: Sequence[str] = (),
    target: str | None = None,
    require_keys: bool = True,
) -> Settings:
    """Read and check the environment contract.

    Args:
        environ: the variables; by default those that `read_environment` gives.
        names: the tenants that this is about, of those that the process serves; none: all. Of the
            others no file is read and no variable checked, so that a run of one costs the same
            whether there are two or a hundred.
        target: `--target` of the command line; wins over every DBT_TARGET.
        require_keys: False where no connection will be made; a private key may then be missing,
            though one that is there must still be valid.

    Raises:
        ConfigurationError: anything is missing or wrong; it lists all problems.
        TenantError: the tenants' directory is unusable, or a name that no tenant has. A tenant
            whose files are unusable is no error here: its settings say so (`Tenant.fault`).
    """
    note_target(target)
    environ = read_environment(target) if environ is None else environ
    problems: list[Problem] = []
    if target is not None and target not in TARGETS:
        problems.append(Problem("--target", "names no target", f"Give it {TARGETS_TEXT}"))
        target = None
    process = validate(ProcessEnvironment, environ, str, problems)
    tenants_dir = tenants_directory(process)
    try:
        found, served = _find_tenants(tenants_dir, process, problems)
    except TenantError as error:
        # whose variables they are is not known, but those with plain names can be checked
        validate(TenantEnvironment, environ, str, problems)
        if not problems:
            raise
        problems.append(Problem("APOLLO_TENANTS_DIR", "leads to an unusable tenant", str(error)))
        raise ConfigurationError(problems) from None
    problems += _unknown_prefixes(environ, found)
    several = len(served) > 1
    loaded = [
        _load_tenant(
            load_or_fault(tenant),
            environ,
            several=several,
            target=target,
            dagster_home=process.dagster_home,
            require_keys=require_keys,
            problems=problems,
        )
        for tenant in _chosen(served, names, problems)
    ]
    if several:
        problems += _shared_credentials(environ, loaded, served)
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
    return _load(ProcessEnvironment, environ)


def load_compute_logs(environ: Mapping[str, str] | None = None) -> ComputeLogEnvironment:
    """Read and check only the variables of the compute logs.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    return _load(ComputeLogEnvironment, environ)


def _load(model: type[_ModelT], environ: Mapping[str, str] | None) -> _ModelT:
    problems: list[Problem] = []
    environ = read_environment() if environ is None else environ
    values = validate(model, environ, str, problems)
    if problems:
        raise ConfigurationError(problems)
    return values


def tenants_directory(process: ProcessEnvironment) -> Path:
    """The absolute path of the tenants' directory; a relative one counts from the checkout."""
    # not Path.resolve(), which raises RuntimeError on a loop of links (Python 3.11)
    return Path(os.path.realpath(CHECKOUT / process.apollo_tenants_dir))


def _find_tenants(
    tenants_dir: Path, process: ProcessEnvironment, problems: list[Problem]
) -> tuple[tuple[TenantFolder, ...], tuple[TenantFolder, ...]]:
    """The tenants that there are, and those of them that APOLLO_TENANTS chooses."""
    found = find_folders(tenants_dir)
    wanted = process.served
    if process.apollo_tenants and not wanted:
        problems.append(Problem("APOLLO_TENANTS", "names no tenant", MENDS["APOLLO_TENANTS"]))
    unknown = [name for name in wanted if name not in {tenant.name for tenant in found}]
    if unknown:
        known = ", ".join(tenant.name for tenant in found)
        problems.append(
            Problem("APOLLO_TENANTS", "names a tenant that does not exist", f"Tenants are: {known}")
        )
    known_names = [name for name in wanted if name not in unknown]
    return found, select_tenants(found, known_names)


def _chosen(
    served: Sequence[TenantFolder], names: Sequence[str], problems: Sequence[Problem]
) -> tuple[TenantFolder, ...]:
    """The tenants that this is about; what is wrong already may be why a name is unknown."""
    try:
        return select_tenants(served, names)
    except TenantError:
        if problems:
            raise ConfigurationError(problems) from None
        raise


def _unknown_prefixes(
    environ: Mapping[str, str], found: Sequence[TenantFolder]
) -> Iterator[Problem]:
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
    values = validate(TenantEnvironment, variables, name_of, problems)
    if values.dbt_profile_name and tenant.profile_name not in {None, values.dbt_profile_name}:
        problems.append(
            Problem(
                name_of("DBT_PROFILE_NAME"),
                f"is not the profile that {tenant.project_dir / PROJECT_FILE} names",
                MENDS["DBT_PROFILE_NAME"],
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
        own_variables={
            **tenant.config.env,
            **{k: v for k, v in variables.items() if k.startswith(OWN_VARIABLE_PREFIX)},
            **dict(_passed_variables(tenant, environ, several=several)),
        },
    )


def _passed_variables(
    tenant: Tenant, environ: Mapping[str, str], *, several: bool
) -> Iterator[tuple[str, str]]:
    """The variables that apollo.yml's `env_from` names, as far as they are set.

    One that is not set is for dbt to miss, in the words of the file that needs it.
    """
    for name in tenant.config.env_from:
        prefixed = f"{tenant.variable_prefix}{name}"
        if prefixed in environ:
            yield name, environ[prefixed]
        elif name in environ and not several and not is_platform_variable(name):
            yield name, environ[name]


def _variables_of(
    tenant: Tenant, environ: Mapping[str, str], *, several: bool, problems: list[Problem]
) -> tuple[dict[str, str], NameOf]:
    """The tenant's variables under their plain names, and the names to speak of them with."""
    prefix = tenant.variable_prefix
    prefixed = {
        match[2]: value
        for name, value in environ.items()
        # not by how it begins: A__B__SNOWFLAKE_USER is tenant a__b's, and none of tenant a's
        if (match := _PREFIXED.match(name)) and f"{match[1]}__" == prefix
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
    credentials = ("SNOWFLAKE_", OWN_VARIABLE_PREFIX)
    if any(name.startswith(credentials) for name in prefixed):
        problems += [
            Problem(
                name,
                f"is set beside variables with the prefix {prefix}",
                f"Set {prefix}{name} instead, or unset it",
            )
            for name in sorted(plain.keys() - prefixed.keys())
            if name.startswith(credentials) and plain[name].strip()
        ]

    def name_of(name: str) -> str:
        return (prefix if name in prefixed else "" if name in plain else default) + name

    return {**plain, **prefixed}, name_of


def _load_snowflake(
    values: TenantEnvironment, name_of: NameOf, *, require_key: bool, problems: list[Problem]
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
                    MENDS[variable],
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
    values: TenantEnvironment, name_of: NameOf, *, required: bool, problems: list[Problem]
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
    environ: Mapping[str, str], loaded: Sequence[TenantSettings], served: Sequence[TenantFolder]
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
            names = ", ".join(f"{tenant.variable_prefix}{name}" for tenant in served)
            yield Problem(
                name,
                "is set for several tenants at once",
                f"Unset it; set what is needed of {names}",
            )
