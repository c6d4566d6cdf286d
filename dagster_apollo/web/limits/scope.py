"""Which assets, runs and resources belong to some tenants: the rules, all pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from dagster import AssetCheckKey, AssetKey, DagsterRun, RunsFilter
from dagster_shared.record import replace

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.tenant_tags import TENANT_TAG, assets_of
from dagster_apollo.tenants import TenantFolder

_IO_MANAGER: Final = "io_manager"


class NotForLimitedError(ApolloError):
    """Something that people who are limited to tenants do not get."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not available for people who are limited to tenants.")


@dataclass(frozen=True)
class Scope:
    """Some tenants, and what belongs to them and to no other.

    Args:
        tenants: their names.
    """

    tenants: frozenset[str]

    @cached_property
    def _folders(self) -> list[TenantFolder]:
        return [TenantFolder(name, Path(name)) for name in sorted(self.tenants)]

    @cached_property
    def prefixes(self) -> frozenset[str]:
        """The first parts of their asset keys."""
        return frozenset(folder.key_prefix for folder in self._folders)

    @cached_property
    def tags(self) -> frozenset[str]:
        """What the tag of their runs says: the tenant's name, or how its keys spell it."""
        return self.tenants | self.prefixes

    @cached_property
    def resources(self) -> frozenset[str]:
        """The resources of their jobs: those of each job's snapshot are all of the location's."""
        return frozenset({_IO_MANAGER, *(f"{folder.identifier}_dbt" for folder in self._folders)})

    def has(self, key: AssetKey | AssetCheckKey) -> bool:
        """Whether an asset, or the asset of a check, is theirs."""
        path = key.asset_key.path if isinstance(key, AssetCheckKey) else key.path
        return bool(path) and path[0] in self.prefixes

    def has_all(self, keys: Iterable[AssetKey | AssetCheckKey]) -> bool:
        """Whether all of some assets and checks are theirs."""
        return all(map(self.has, keys))

    def has_tags(self, tags: Mapping[str, str] | None) -> bool:
        """Whether the tags of a job or a run say that it is theirs."""
        return (tags or {}).get(TENANT_TAG) in self.tags

    def has_run(self, run: DagsterRun) -> bool:
        """Whether a run is theirs: one of several tenants, or of nobody knows whom, is not."""
        return self.has_tags(run.tags) and self.has_all(assets_of(run))

    def narrowed(self, filters: RunsFilter | None) -> RunsFilter | None:
        """A filter of runs, within theirs; None where nothing can be left."""
        filters = filters or RunsFilter()
        asked: Any = filters.tags.get(TENANT_TAG)
        wanted = {asked} if isinstance(asked, str) else self.tags if asked is None else set(asked)
        tags = sorted(self.tags & wanted)
        return replace(filters, tags={**filters.tags, TENANT_TAG: tags}) if tags else None
