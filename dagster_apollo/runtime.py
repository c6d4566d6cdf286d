"""The start of a process: settings are read, profiles written, DBT_PROFILES_DIR exported."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_apollo import settings as settings_module
from dagster_apollo.profiles import ProfilesDirectory
from dagster_apollo.settings import Settings, TenantSettings


@dataclass(frozen=True)
class Runtime:
    """What a process works with once it has started."""

    settings: Settings
    profiles: ProfilesDirectory

    def profiles_dir(self, tenant: TenantSettings) -> Path:
        """The directory of the tenant's profiles.yml."""
        return self.profiles.of(tenant)


def start(
    *,
    environ: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    target: str | None = None,
    require_keys: bool = True,
) -> Runtime:
    """Read the environment once and write the profiles.

    Args:
        environ: the variables; by default the process's own and, on a laptop, those of `.env`.
        names: the tenants that the process is about; none: all that it serves.
        target: `--target` of the command line.
        require_keys: False where no connection to the warehouse will be made.

    Raises:
        ApolloError: the environment is not valid, a name is no tenant's, or the profiles cannot be
            written.
    """
    settings = settings_module.load(environ, names=names, target=target, require_keys=require_keys)
    profiles = ProfilesDirectory.create(settings.tenants)
    _export_profiles_dir(settings, profiles)
    return Runtime(settings, profiles)


def _export_profiles_dir(settings: Settings, profiles: ProfilesDirectory) -> None:
    """Export DBT_PROFILES_DIR: the tenant's, if there is one, else a folder with no profile.

    A dbt started past Apollo in a process of several tenants thus fails, rather than run with
    whichever tenant's profile came first.
    """
    only = settings.tenants[0] if len(settings.tenants) == 1 else None
    directory = profiles.of(only) if only else profiles.root
    os.environ["DBT_PROFILES_DIR"] = os.fspath(directory)
