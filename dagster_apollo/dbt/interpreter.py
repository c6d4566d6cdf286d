"""Which Python runs a tenant's dbt: the one of Apollo, or the one of the tenant's own environment.

An environment goes by what it is made from: its folder's name is a digest of the requirements, the
version of Python and the platform, so that it is found without a look inside, and made anew where
any of them changes. Nothing of it is ever imported here; which versions it holds stands in a file
of its own, which is written last (own_environment.py makes it).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from dagster_apollo.errors import PrepareError
from dagster_apollo.requirements import read_requirements
from dagster_apollo.settings import TenantSettings

DISTRIBUTIONS: Final = ("dbt-core", "dbt-adapters", "dbt-common", "dbt-duckdb", "dbt-snowflake")
"""What the result of a parse depends on."""
ADAPTER_OF_TARGET: Final[Mapping[str, str]] = {
    "local": "dbt-duckdb",
    "dev": "dbt-snowflake",
    "prod": "dbt-snowflake",
}
VERSIONS_FILE: Final = "apollo.json"
IN_USE_FILE: Final = ".in-use"
"""Each dbt process that runs in an environment holds a lock on this, as long as it lives."""
_FORMAT: Final = 1
"""Of what is in an environment's folder: a new one makes all of them anew."""


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs a tenant's dbt.

    Args:
        python: the executable.
        environment: the folder of the tenant's own environment; None: dbt is Apollo's.
    """

    python: Path
    environment: Path | None = None

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of Python and of dbt's parts, by distribution; none where nothing is."""
        return own_versions() if self.environment is None else _read_versions(self.environment)

    @property
    def is_there(self) -> bool:
        """Whether it can be started: it is made, and the Python that it is made of still exists."""
        return self.environment is None or (bool(self.versions) and self.python.exists())

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[int, ...]]:
        """Keep the environment from being removed while a process is started in it.

        Yields:
            The file descriptors to hand to the process, which holds it on with them.

        Raises:
            PrepareError: it is not there; the text says what makes it.
        """
        if self.environment is None:
            yield ()
            return
        try:
            descriptor = os.open(self.environment / IN_USE_FILE, os.O_RDONLY)
        except OSError:
            raise self._missing() from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if not self.is_there:
                raise self._missing()
            yield (descriptor,)
        finally:
            os.close(descriptor)

    def _missing(self) -> PrepareError:
        return PrepareError(
            f"The environment that apollo.yml asks for is not there ({self.environment}). Run "
            "`apollo prepare` on this host, with the same DAGSTER_HOME and settings."
        )


APOLLOS_OWN: Final = Interpreter(Path(sys.executable))


def interpreter_of(settings: TenantSettings) -> Interpreter:
    """The interpreter of a tenant's dbt, whether it has been made or not.

    Raises:
        TenantError: the requirements that apollo.yml names cannot be read.
    """
    config = settings.tenant.config
    requirements = read_requirements(settings.tenant.folder, config)
    if requirements is None:
        return APOLLOS_OWN
    made_from = (
        str(_FORMAT),
        requirements.digest,
        config.python or f"{platform.python_implementation()} {platform.python_version()}",
        sysconfig.get_platform(),
    )
    name = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
    environment = settings.paths.environments / name
    return Interpreter(python_in(environment), environment)


def python_in(environment: Path) -> Path:
    """The executable of a virtual environment."""
    return environment / "bin" / "python"


def own_versions() -> dict[str, str]:
    """The versions of this process's Python, and of the dbt beside it."""
    return {"python": platform.python_version(), **installed_versions(None)}


def installed_versions(site_packages: Path | None) -> dict[str, str]:
    """The versions of dbt's parts, from the metadata that was installed with them.

    Args:
        site_packages: the folder to look in; None: where this process imports from.
    """
    if site_packages is None:
        return dict(_known_versions())
    folders = [os.fspath(site_packages)]
    found: dict[str, str] = {}
    for name in DISTRIBUTIONS:
        for distribution in metadata.distributions(name=name, path=folders):
            found[name] = distribution.version
    return found


def _known_versions() -> Iterator[tuple[str, str]]:
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _read_versions(environment: Path) -> Mapping[str, str]:
    try:
        versions = json.loads((environment / VERSIONS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return versions if isinstance(versions, dict) else {}
