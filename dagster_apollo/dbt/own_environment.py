"""A tenant's own virtual environment for dbt: made by uv, aside, and put in its place whole.

uv installs wheels only, so that no package's code runs before the tenant's dbt does, and none at
all where the credentials of an index are. Its environment is built from a list, as dbt's is.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from uv import find_uv_bin

from dagster_apollo.dbt.interpreter import (
    ADAPTER_OF_TARGET,
    IN_USE_FILE,
    VERSIONS_FILE,
    Interpreter,
    installed_versions,
    python_in,
)
from dagster_apollo.errors import PrepareError
from dagster_apollo.own_variables import (
    PYTHON_VARIABLES,
    SECRET_PREFIX,
    is_host_variable,
)
from dagster_apollo.requirements import Requirements, read_requirements
from dagster_apollo.settings import TenantSettings

SUPPORTED_DBT: Final = ">=1.9,<1.12"
"""What a tenant's own dbt-core may be: of the manifest that dagster-dbt and Apollo read."""

_UV_VARIABLES: Final = frozenset(
    {
        *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
        *("UV_INDEX_STRATEGY", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_NATIVE_TLS"),
        *("UV_SYSTEM_CERTS", "UV_HTTP_TIMEOUT", "UV_OFFLINE", "UV_CACHE_DIR", "UV_LINK_MODE"),
        *("UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_INSTALL_MIRROR", "NETRC"),
    }
)
"""Where packages come from, and how; uv reads none of pip's variables."""
_UV_CREDENTIAL: Final = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_STAGING: Final = ".making"
_REMOVED: Final = ".removed"

RunProcess = Callable[
    [Sequence[str], Path, Mapping[str, str]], "subprocess.CompletedProcess[bytes]"
]
"""Run a command in a folder with an environment to its end: its exit code, and what it wrote."""


def uv_environment(
    settings: TenantSettings, requirements: Requirements, host: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the uv that installs a tenant's packages.

    Of the tenant's own variables those are in it that its requirements name: any other could have
    uv, or the git that it starts, run a program of the project's (GIT_SSH) beside an index's
    credentials. uv's own may carry the tenant's prefix, which then win over the plain ones.

    Args:
        settings: the tenant's settings.
        requirements: the tenant's.
        host: the environment of this process, of which only the listed variables are taken.
    """
    prefix = settings.tenant.variable_prefix
    plain = {name: value for name, value in host.items() if _is_for_uv(name)}
    prefixed = {
        name.removeprefix(prefix): value
        for name, value in host.items()
        if name.startswith(prefix) and _is_for_uv(name.removeprefix(prefix))
    }
    inherited = {
        name: value
        for name, value in host.items()
        if is_host_variable(name) and name not in PYTHON_VARIABLES
    }
    return {
        **inherited,
        **{k: v for k, v in settings.own_variables.items() if k in requirements.variables},
        "UV_PYTHON_INSTALL_DIR": os.fspath(settings.paths.pythons),
        "UV_SYSTEM_CERTS": "1",  # trust what the host trusts, as pip does
        **plain,
        **prefixed,
        "UV_NO_CONFIG": "1",  # neither the project's uv.toml nor this user's
        "UV_PYTHON_PREFERENCE": "system",  # the host's, where it has the version
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }


def require_usable(settings: TenantSettings, interpreter: Interpreter) -> None:
    """Check that a tenant's own environment has a dbt that Apollo can run for the target.

    Raises:
        PrepareError: it has not; the text says what to add.
    """
    if interpreter.environment is None:
        return
    versions, adapter = interpreter.versions, ADAPTER_OF_TARGET[settings.target]
    file = settings.tenant.folder / (settings.tenant.config.requirements or "")
    for name, reason in (("dbt-core", "its dbt"), (adapter, f"target {settings.target}")):
        if name not in versions:
            raise PrepareError(
                f"The requirements of tenant {settings.tenant.name} install no {name}, which "
                f"{reason} needs. Add it to {file}, then run `apollo prepare` again."
            )
    if Version(versions["dbt-core"]) not in SpecifierSet(SUPPORTED_DBT):
        raise PrepareError(
            f"The requirements of tenant {settings.tenant.name} install dbt-core "
            f"{versions['dbt-core']}, and Apollo can run {SUPPORTED_DBT}. Ask for one of those in "
            f"{file}, then run `apollo prepare` again."
        )


def make_environment(
    settings: TenantSettings, interpreter: Interpreter, host: Mapping[str, str], run: RunProcess
) -> None:
    """Make a tenant's own environment, and remove those that it takes the place of.

    The caller sees to it that nobody else does so at the same time.

    Args:
        settings: the tenant's settings.
        interpreter: the one to be made, see `interpreter_of`.
        host: this process's environment, see `uv_environment`.
        run: runs uv.

    Raises:
        PrepareError: uv could not, and says why; or dbt runs in the one that is to be replaced.
        TenantError: the requirements cannot be read.
    """
    requirements = read_requirements(settings.tenant.folder, settings.tenant.config)
    if requirements is None or interpreter.environment is None:
        return
    folder = settings.paths.environments
    staging = folder / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    environment = uv_environment(settings, requirements, host)
    python = settings.tenant.config.python or sys.executable
    try:
        for arguments in (
            ["venv", "--no-project", "--relocatable", "--python", python, os.fspath(staging)],
            [
                *("pip", "install", "--no-build", "--python", os.fspath(python_in(staging))),
                *(["--require-hashes"] if requirements.has_hashes else []),
                *("--requirement", os.fspath(requirements.file)),
            ],
        ):
            command = [find_uv_bin(), "--quiet", *arguments]
            result = run(command, requirements.file.parent, environment)
            if result.returncode != 0:
                raise PrepareError(_failure(settings, result, requirements.file, host))
        (staging / IN_USE_FILE).touch()
        (staging / VERSIONS_FILE).write_bytes(orjson.dumps(_versions_in(staging)))
        _put_in_place(staging, interpreter.environment, settings.tenant.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for other in folder.iterdir():
        if other != interpreter.environment and other.is_dir():
            _remove_unless_used(other)


def redacted(text: str, settings: TenantSettings, host: Mapping[str, str]) -> str:
    """A message of uv's without what an index or a repository may have been opened with."""
    text = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
    text = re.sub(r"(?<=\?)[^\s`'\")]+", "***", text)
    passed = {*settings.tenant.config.env_from}
    secrets = {
        *(
            value
            for name, value in settings.own_variables.items()
            if name.startswith(SECRET_PREFIX) or name in passed
        ),
        *(value for name, value in host.items() if re.search(_UV_CREDENTIAL, name)),
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if secret.strip() else text
    return text


def _is_for_uv(name: str) -> bool:
    return name in _UV_VARIABLES or bool(_UV_CREDENTIAL.fullmatch(name))


def _failure(
    settings: TenantSettings,
    result: "subprocess.CompletedProcess[bytes]",
    file: Path,
    host: Mapping[str, str],
) -> str:
    said = redacted(result.stdout.decode(errors="replace"), settings, host).strip()
    return (
        f"The environment of tenant {settings.tenant.name} cannot be made of {file}; uv, exit "
        f"code {result.returncode}:\n"
        + "\n".join(f"  {line}" for line in said.splitlines())
        + "\nCorrect the requirements, or `python:` in apollo.yml, or install that Python, or let "
        "this host reach where they come from (UV_DEFAULT_INDEX, HTTPS_PROXY). Only wheels are "
        "installed: build one of a package that has none. Then run `apollo prepare` again."
    )


def _versions_in(environment: Path) -> dict[str, str]:
    """The versions in an environment, from what uv and the packages wrote there."""
    (site_packages,) = environment.glob("lib/python3*/site-packages")
    settings = (environment / "pyvenv.cfg").read_text(encoding="utf-8")
    found = re.search(r"^version_info\s*=\s*(\S+)", settings, re.MULTILINE)
    python = found[1] if found else site_packages.parent.name.removeprefix("python")
    return {"python": python, **installed_versions(site_packages)}


def _put_in_place(staging: Path, environment: Path, name: str) -> None:
    if environment.exists():
        with _unused(environment) as is_unused:
            if not is_unused:
                raise PrepareError(
                    f"The environment of tenant {name} is in use by a dbt that runs. Wait for its "
                    "end, then run `apollo prepare` again."
                )
            removed = environment.with_name(_REMOVED)
            shutil.rmtree(removed, ignore_errors=True)
            environment.rename(removed)
    staging.rename(environment)


def _remove_unless_used(environment: Path) -> None:
    with _unused(environment) as is_unused:
        if is_unused:
            shutil.rmtree(environment, ignore_errors=True)


@contextlib.contextmanager
def _unused(environment: Path) -> Iterator[bool]:
    """Whether no dbt runs in an environment; none can be started there meanwhile."""
    try:
        descriptor = os.open(environment / IN_USE_FILE, os.O_RDONLY)
    except OSError:  # nothing was ever started in it
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
