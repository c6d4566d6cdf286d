"""The AssetSpec of a dbt node, made in one step.

dagster-dbt 0.29 makes one and then a new one for each attribute that it adds: five for each node,
each checked from the beginning, which is most of the time that definitions take to load. This says
the same at once, by the translator's same methods; a test compares the two. Another release of
dagster-dbt makes its own.
"""

import functools
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from dagster import AssetDep, AssetKey, AssetSpec, LocalFileCodeReference, MetadataValue
from dagster._core.definitions.metadata import TableMetadataSet
from dagster._core.definitions.metadata.source_code import (
    CodeReferencesMetadataSet,
    CodeReferencesMetadataValue,
)

from dagster_apollo.dbt.stock import (
    DagsterDbtTranslator,
    DbtManifestWrapper,
    DbtProject,
    asset_utils,
    dagster_dbt_version,
)

KNOWN: Final = dagster_dbt_version.startswith("0.29.")
"""Whether this release of dagster-dbt is the one that this module was written for."""


def upstream_first(
    unique_id: str, upstream: Callable[[str], Iterable[str]], made: Container[str]
) -> Iterator[str]:
    """A node and what it is made from, each after all that it reads itself.

    A spec holds its upstream keys, so stock dagster-dbt makes specs by recursion, and Python's
    stack ends at a chain of some hundred models.

    Args:
        unique_id: the node.
        upstream: gives what a node reads.
        made: nodes to leave out; what has been given may be put into it meanwhile.
    """
    waiting = [(unique_id, iter(upstream(unique_id)))]
    while waiting:
        node, unseen = waiting[-1]
        parent = next((it for it in unseen if it not in made), None)
        if parent is not None:
            waiting.append((parent, iter(upstream(parent))))
            continue
        waiting.pop()
        if node not in made:
            yield node


class SpecMaker:
    """Makes the specs of one manifest's nodes.

    Args:
        translator: says how a node looks. Its settings must not ask for virtual assets, and it
            must have no partitions.
        manifest: the nodes.
        project: the nodes' project.
        elsewhere: the assets that are read in place of sources, by the sources' ids.
    """

    def __init__(
        self,
        translator: DagsterDbtTranslator,
        manifest: Mapping[str, Any],
        project: DbtProject,
        elsewhere: Mapping[str, AssetKey],
    ) -> None:
        self._elsewhere = elsewhere
        self._translator = translator
        self._manifest = manifest
        self._groups = {it["name"]: it for it in manifest.get("groups", {}).values()}
        self._adapter = manifest["metadata"].get("adapter_type")
        project_id = manifest["metadata"].get("project_id")
        self._metadata: dict[str, Any] = {
            asset_utils.DAGSTER_DBT_MANIFEST_METADATA_KEY: DbtManifestWrapper(manifest=manifest),
            asset_utils.DAGSTER_DBT_TRANSLATOR_METADATA_KEY: translator,
            asset_utils.DAGSTER_DBT_PROJECT_METADATA_KEY: project,
            **TableMetadataSet(storage_kind=self._adapter),
            **({"dagster_dbt/project_id": MetadataValue.text(project_id)} if project_id else {}),
        }
        self._project = project
        self._folder = functools.cache(os.path.realpath)
        self.upstream = functools.cache(self._upstream)

    def spec(self, unique_id: str, kind: str | None) -> AssetSpec:
        """The spec of a node.

        Args:
            unique_id: the node.
            kind: a kind that it has beside dbt and the adapter.
        """
        translator = self._translator
        props = translator.get_resource_props(self._manifest, unique_id)
        group = self._groups.get(props.get("group") or "")
        return AssetSpec(
            key=translator.get_asset_key(props),
            deps=self._deps(props),
            description=translator.get_description(props),
            metadata={
                **translator.get_metadata(props),
                **self._metadata,
                asset_utils.DAGSTER_DBT_UNIQUE_ID_METADATA_KEY: unique_id,
                **self._code(props),
            },
            skippable=True,
            group_name=translator.get_group_name(props),
            code_version=translator.get_code_version(props),
            automation_condition=translator.get_automation_condition(props),
            owners=translator.get_owners({**props, "group": group} if group else props),
            tags=translator.get_tags(props),
            kinds={"dbt", self._adapter or "dbt", *([kind] if kind else [])},
        )

    def _upstream(self, unique_id: str) -> AbstractSet[str]:
        """The assets and sources that a node reads, through ephemeral models, too."""
        props = self._translator.get_resource_props(self._manifest, unique_id)
        return asset_utils.get_upstream_unique_ids(self._manifest, props)

    def _deps(self, props: Mapping[str, Any]) -> list[AssetDep]:
        """What the node reads, through ephemeral models, too; of a source with its columns."""
        deps = {}
        for upstream in self.upstream(props["unique_id"]):
            if key := self._elsewhere.get(upstream):
                deps[key] = AssetDep(asset=key)
                continue
            spec = self._translator.get_asset_spec(self._manifest, upstream, self._project)
            if spec.key not in deps:
                metadata = self._source_metadata(spec) if upstream.startswith("source") else None
                deps[spec.key] = AssetDep(asset=spec.key, metadata=metadata)
        return list(deps.values())

    def _source_metadata(self, spec: AssetSpec) -> dict[str, Any] | None:
        """What is known of a source's table, unless it is not clear which source it is."""
        if spec.key in self._translator._colliding_source_keys(self._manifest, self._project):
            return None
        own = asset_utils.DAGSTER_DBT_METADATA_NAMESPACE
        return {name: value for name, value in spec.metadata.items() if not name.startswith(own)}

    def _code(self, props: Mapping[str, Any]) -> Mapping[str, Any]:
        path = Path(self._project.project_dir, props["original_file_path"])
        # of files in one folder only the last part differs
        real = os.path.join(self._folder(path.parent), path.name)  # noqa: PTH118
        if os.path.islink(real):  # noqa: PTH114
            real = os.path.realpath(real)
        reference = LocalFileCodeReference(file_path=real)
        return dict(
            CodeReferencesMetadataSet(
                code_references=CodeReferencesMetadataValue(code_references=[reference])
            )
        )
