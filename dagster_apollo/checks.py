"""Every check of the configuration, each with its mend; `apollo doctor` shows them."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from dagster_apollo.contract import DEFAULT_PROFILE_NAME
from dagster_apollo.dbt.interpreter import ADAPTER_OF_TARGET, interpreter_of
from dagster_apollo.dbt.manifest import read_manifest, unrouted_nodes
from dagster_apollo.dbt.own_environment import SUPPORTED_DBT
from dagster_apollo.dbt.prepare import check_freshness, last_failure, manifest_path
from dagster_apollo.dbt.schema_routing import schema_variable
from dagster_apollo.errors import ApolloError, ConfigurationError
from dagster_apollo.settings import (
    Settings,
    Snowflake,
    TenantSettings,
    load_process,
)

Status = Literal["ok", "warning", "error"]

_SUPPORTED: Final[Mapping[str, str]] = {
    "dbt-core": ">=1.10.23,<1.12",
    "dbt-duckdb": ">=1.10,<1.12",
    "dbt-snowflake": ">=1.10.8,<1.12",
}
_SHOWN_NODES: Final = 10
_LOGIN_SECONDS: Final = 30
_ROOM_BYTES: Final = 200 * 1024 * 1024


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Args:
        tenant: the tenant that it is about; None for the process as a whole.
        name: what was looked at.
        status: ok, warning or error.
        finding: what was found, without any secret.
        mend: what to do about it; empty where nothing is to be done.
    """

    tenant: str | None
    name: str
    status: Status
    finding: str
    mend: str = ""


def configuration_checks(error: ApolloError) -> list[Check]:
    """The report where the settings cannot be loaded: each problem, and what can still be seen."""
    if isinstance(error, ConfigurationError):
        problems = [
            Check(None, problem.variable, "error", problem.what, problem.mend)
            for problem in error.problems
        ]
    else:
        problems = [Check(None, "tenants", "error", str(error))]
    try:
        home = load_process().dagster_home
    except ApolloError:
        return problems
    return [*problems, *_version_checks(), *_writable_checks(home)]


def process_checks(settings: Settings) -> list[Check]:
    """What concerns the process as a whole."""
    names = ", ".join(item.tenant.name for item in settings.tenants)
    return [
        Check(None, "variables", "ok", "the environment meets the contract"),
        Check(None, "tenants", "ok", f"{names} ({settings.tenants_dir})"),
        *_version_checks(),
        *_storage_checks(settings),
        *_writable_checks(settings.dagster_home),
    ]


def tenant_checks(settings: TenantSettings) -> list[Check]:
    """What concerns one tenant, without a connection."""
    name, fault = settings.tenant.name, settings.tenant.fault
    if fault is not None:
        return [Check(name, "files", "error", fault)]
    return [
        Check(name, "target", "ok", f"{settings.target}, {settings.threads} threads"),
        *_key_checks(settings),
        _profile_check(settings),
        *_dbt_checks(settings),
        *_manifest_checks(settings),
    ]


def connection_check(settings: TenantSettings) -> Check:
    """Log in to the tenant's warehouse and say as whom."""
    if settings.snowflake is None:
        return _connect_duckdb(settings)
    return _connect_snowflake(settings, settings.snowflake)


def _key_checks(settings: TenantSettings) -> Iterator[Check]:
    name, connection = settings.tenant.name, settings.snowflake
    if connection is None:
        yield Check(name, "private key", "ok", "not needed on DuckDB")
        return
    key = connection.private_key
    if key is None:
        yield Check(
            name,
            "private key",
            "error",
            "there is none",
            f"Set {settings.tenant.variable_prefix}SNOWFLAKE_PRIVATE_KEY_PEM or its plain name.",
        )
        return
    yield Check(
        name,
        "private key",
        "ok",
        f"RSA, {key.bits} bits, {key.fingerprint} (DESC USER shows it as RSA_PUBLIC_KEY_FP)",
    )
    yield Check(
        name,
        "passphrase",
        "ok",
        "fits the key" if settings.key_is_encrypted else "not needed, the key is not encrypted",
    )


def _profile_check(settings: TenantSettings) -> Check:
    name, project = settings.tenant.name, settings.tenant.profile_name
    if project is None:
        return Check(
            name,
            "profile",
            "warning",
            f"dbt_project.yml names no profile; {settings.profile_name} is used",
            f"Add `profile: {DEFAULT_PROFILE_NAME}` to dbt_project.yml.",
        )
    return Check(name, "profile", "ok", f"{settings.profile_name}, as in dbt_project.yml")


def _version_checks() -> Iterator[Check]:
    for name in ("dagster", "dagster-dbt", "dbt-core"):
        yield _version_check(None, name)


def _dbt_checks(settings: TenantSettings) -> Iterator[Check]:
    """The adapter of the target; for a tenant with an environment of its own, dbt itself, too."""
    tenant, adapter = settings.tenant, ADAPTER_OF_TARGET[settings.target]
    interpreter = interpreter_of(settings)
    if interpreter.environment is None:
        yield _version_check(tenant.name, adapter)
        return
    if not interpreter.is_there:
        yield Check(
            tenant.name,
            "environment",
            "error" if settings.is_production else "warning",
            f"is not made of {tenant.config.requirements}",
            f"Run `apollo prepare {tenant.name} --target {settings.target}`.",
        )
        return
    yield Check(tenant.name, "environment", "ok", f"{interpreter.environment}")
    mend = f"Ask for it in {tenant.folder / (tenant.config.requirements or '')}."
    for name, supported in (("python", ""), ("dbt-core", SUPPORTED_DBT), (adapter, "")):
        version = interpreter.versions.get(name)
        yield _known_version_check(tenant.name, name, version, supported, mend)


def _version_check(tenant: str | None, name: str) -> Check:
    mend = "Install what requirements.txt pins (`make run` does)."
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = None
    return _known_version_check(tenant, name, version, _SUPPORTED.get(name, ""), mend)


def _known_version_check(
    tenant: str | None, name: str, version: str | None, supported: str, mend: str
) -> Check:
    if version is None:
        return Check(tenant, name, "error", "is not installed", mend)
    if supported and Version(version) not in SpecifierSet(supported):
        return Check(tenant, name, "error", f"{version} is not supported ({supported})", mend)
    return Check(tenant, name, "ok", version)


def _manifest_checks(settings: TenantSettings) -> Iterator[Check]:
    name = settings.tenant.name
    command = f"Run `apollo prepare {name} --target {settings.target}`."
    freshness = check_freshness(settings)
    if freshness.is_fresh:
        yield Check(name, "manifest", "ok", f"fresh ({manifest_path(settings).parent})")
    elif failure := last_failure(settings):
        mend = f"Correct the project, then run `apollo prepare {name} --target {settings.target}`."
        yield Check(name, "manifest", "error", f"the last preparation failed: {failure}", mend)
    else:
        status: Status = "error" if settings.is_production else "warning"
        yield Check(name, "manifest", status, f"stale: {freshness.reason}", command)
    try:
        manifest = read_manifest(manifest_path(settings))
    except ApolloError:
        yield Check(name, "schema routing", "warning", "not known without a manifest", command)
        return
    yield from _routing_checks(settings, manifest)


def _routing_checks(settings: TenantSettings, manifest: Mapping[str, object]) -> Iterator[Check]:
    name = settings.tenant.name
    if settings.schema:
        yield Check(
            name,
            "schema routing",
            "warning",
            "DBT_SCHEMA decides the schema instead of the models' configs",
            "Unset DBT_SCHEMA unless that is meant.",
        )
        return
    findings = unrouted_nodes(manifest)
    if not findings:
        yield Check(name, "schema routing", "ok", "each node's schema is named by its config")
    for finding in findings[:_SHOWN_NODES]:
        yield Check(
            name,
            "schema routing",
            "error" if settings.snowflake else "warning",
            str(finding),
            "Add `+schema: NAME` for it in dbt_project.yml (and a generate_schema_name macro that "
            f"takes it as it is), or set {schema_variable(settings.tenant)}.",
        )
    if len(findings) > _SHOWN_NODES:
        more = f"... and {len(findings) - _SHOWN_NODES} more nodes"
        yield Check(name, "schema routing", "error" if settings.snowflake else "warning", more)


def _storage_checks(settings: Settings) -> Iterator[Check]:
    production = any(item.is_production for item in settings.tenants)
    if settings.dagster_pg_uri is None:
        yield Check(
            None,
            "instance storage",
            "warning" if production else "ok",
            f"SQLite files in {settings.dagster_home}",
            "Set DAGSTER_PG_URI: these files do not survive a redeploy." if production else "",
        )
        return
    from sqlalchemy import text

    from dagster_apollo.instance.database import DatabaseUnreachableError
    from dagster_apollo.instance.schema import connected, read_schema

    try:
        with connected(settings.dagster_pg_uri) as connection:
            version = connection.execute(text("show server_version")).scalar()
            states = read_schema(connection) if production else ()
    except DatabaseUnreachableError as error:
        yield Check(None, "instance storage", "error", *str(error).split(". ", 1))
        return
    yield Check(None, "instance storage", "ok", f"Postgres {version}")
    for state in states:
        if state.state == "current":
            yield Check(None, "instance schema", "ok", str(state))
        else:
            yield Check(None, "instance schema", "error", str(state), f"{state.mend}.")


def _writable_checks(home: Path) -> Iterator[Check]:
    for label, directory, variable in (
        ("instance directory", home, "DAGSTER_HOME"),
        ("temporary directory", Path(tempfile.gettempdir()), "TMPDIR"),
    ):
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        mend = f"Make it writable, or set {variable} to a directory that is."
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            yield Check(None, label, "error", f"{directory} is not writable", mend)
        elif shutil.disk_usage(existing).free < _ROOM_BYTES:
            yield Check(
                None, label, "warning", f"{directory} has less than 200 MB of room", "Make room."
            )
        else:
            yield Check(None, label, "ok", f"{directory}")


def _connect_duckdb(settings: TenantSettings) -> Check:
    import duckdb

    name, path = settings.tenant.name, settings.paths.duckdb_file
    if not path.exists():
        return Check(name, "connection", "ok", f"DuckDB {duckdb.__version__}; nothing built yet")
    try:
        duckdb.connect(path).close()
    except duckdb.Error as error:
        return Check(
            name,
            "connection",
            "error",
            f"DuckDB cannot open {path}: {type(error).__name__}",
            "End the process that has the file open; dbt.log of a build has DuckDB's message.",
        )
    return Check(name, "connection", "ok", f"DuckDB {duckdb.__version__}, {path}")


def _connect_snowflake(settings: TenantSettings, connection: Snowflake) -> Check:
    import base64

    import snowflake.connector

    name = settings.tenant.name
    if connection.private_key is None:
        return Check(name, "connection", "error", "no private key to log in with")
    optional = {
        key: value
        for key in ("host", "port", "protocol")
        if (value := getattr(connection, key)) is not None
    }
    try:
        with snowflake.connector.connect(
            account=connection.account,
            user=connection.user,
            private_key=base64.b64decode(connection.private_key.base64_der),
            role=connection.role,
            warehouse=connection.warehouse,
            database=connection.database,
            login_timeout=_LOGIN_SECONDS,
            network_timeout=_LOGIN_SECONDS,
            application="apollo",
            **optional,
        ) as session:
            cursor = session.cursor()
            cursor.execute("select current_role(), current_warehouse(), current_database()")
            rows = cursor.fetchall()
    except snowflake.connector.Error as error:
        # the driver's own text may quote what it was given
        return Check(
            name,
            "connection",
            "error",
            f"the login failed (Snowflake error {error.errno})",
            "Check account, user, role and network access, and that the user's RSA_PUBLIC_KEY_FP "
            "is the fingerprint shown for the private key.",
        )
    return _session_check(settings, connection, rows[0])


def _session_check(
    settings: TenantSettings, connection: Snowflake, row: Sequence[str | None]
) -> Check:
    """What the session has, against what was asked for; Snowflake gives none without a grant."""
    wanted = (connection.role, connection.warehouse, connection.database)
    labels = ("role", "warehouse", "database")
    missing = [
        label
        for label, want, got in zip(labels, wanted, row, strict=True)
        if got is None or got.strip('"').upper() != want.strip('"').upper()
    ]
    found = ", ".join(f"{label} {got}" for label, got in zip(labels, row, strict=True))
    if not missing:
        return Check(settings.tenant.name, "connection", "ok", f"logged in: {found}")
    return Check(
        settings.tenant.name,
        "connection",
        "error",
        f"logged in, but not with the configured {', '.join(missing)}: {found}",
        f"Grant the user's role usage of the {' and the '.join(missing)}, or correct the name.",
    )
