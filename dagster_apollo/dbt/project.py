"""A tenant's DbtProject, with Apollo's preparation in place of dagster-dbt's own."""

import os
from pathlib import Path

from dagster_shared.record import replace

from dagster_apollo.dbt.prepare import prepare_each, require_fresh, require_prepared
from dagster_apollo.dbt.stock import DbtProject, DbtProjectPreparer
from dagster_apollo.settings import TenantSettings


class TenantProjectPreparer(DbtProjectPreparer):
    """Prepares what is stale during development; in production only checks that nothing is.

    Development is target local, and target dev under `dagster dev` (`apollo dev`); a service that
    runs with target dev prepares when its release is built, as production does.
    """

    def __init__(self, settings: TenantSettings, profiles_dir: Path) -> None:
        self._settings = settings
        self._profiles_dir = profiles_dir

    def prepare_if_dev(self, project: DbtProject) -> None:
        """Prepare the tenant, or refuse to load it with a stale manifest.

        Raises:
            PrepareError: preparation failed, or may not happen here and is due.
        """
        target = self._settings.target
        if target == "local" or (target == "dev" and self.using_dagster_dev()):
            self.prepare(project)
        else:
            require_fresh(self._settings)

    def prepare(self, project: DbtProject) -> None:  # noqa: ARG002
        """Prepare the tenant if it is stale.

        Raises:
            PrepareError: dbt could not install the packages or parse the project.
        """
        outcomes = prepare_each([self._settings], lambda _: self._profiles_dir, os.environ)
        require_prepared(outcomes)


def tenant_project(settings: TenantSettings, profiles_dir: Path) -> DbtProject:
    """The tenant's project as dagster-dbt knows it: its folder, profile, target and manifest."""
    project = DbtProject(
        settings.tenant.project_dir,
        target_path=settings.paths.prepared,
        profiles_dir=profiles_dir,
        profile=settings.profile_name,
        target=settings.target,
    )
    return replace(project, preparer=TenantProjectPreparer(settings, profiles_dir))
