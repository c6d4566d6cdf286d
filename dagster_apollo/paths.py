"""Where things are: the checkout, and what Apollo keeps for a tenant below DAGSTER_HOME.

Nothing derived is ever written into a tenant's own folder except what `dbt deps` itself installs
there, so that a project dropped into tenants/ stays as its authors wrote it.
"""

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds the package: README, Makefile, tenants/ and, on a laptop, .env."""


@dataclass(frozen=True)
class TenantPaths:
    """One tenant's folders below DAGSTER_HOME.

    Args:
        dagster_home: the instance directory.
        identifier: the tenant's name as an identifier (`Tenant.identifier`).
        target: the dbt target; prepared state of two targets never mixes.
    """

    dagster_home: Path
    identifier: str
    target: str

    @property
    def root(self) -> Path:
        """All that Apollo keeps for this tenant."""
        return self.dagster_home / "tenants" / self.identifier

    @property
    def prepared(self) -> Path:
        """manifest.json, digest.json, partial_parse.msgpack, state.json: the last preparation."""
        return self.root / "prepared" / self.target

    @property
    def runs(self) -> Path:
        """One dbt target directory a run: logs, compiled SQL, run_results.json."""
        return self.root / "runs"

    @property
    def environments(self) -> Path:
        """The virtual environment of the tenant's own dbt, where apollo.yml asks for one."""
        return self.root / "environments"

    @property
    def pythons(self) -> Path:
        """Versions of Python that such environments need and the host has not, for all tenants."""
        return self.dagster_home / "pythons"

    @property
    def duckdb_file(self) -> Path:
        """The embedded warehouse of target local."""
        return self.root / f"{self.identifier}.duckdb"
