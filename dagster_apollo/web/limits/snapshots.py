"""Snapshots of jobs and repositories, less what is other tenants': pure functions."""

from collections.abc import Iterable
from typing import Final, TypeVar

from dagster._config.snap import ConfigSchemaSnapshot, ConfigTypeSnap
from dagster._core.remote_representation.external_data import (
    AssetCheckNodeSnap,
    AssetNodeSnap,
    JobDataSnap,
    RepositorySnap,
    SensorSnap,
)
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.snap.dep_snapshot import DependencyStructureSnapshot
from dagster._core.snap.job_snapshot import JobSnap
from dagster._core.snap.node import NodeDefsSnapshot
from dagster_shared.record import replace

from dagster_apollo.web.limits.scope import NotForLimitedError, Scope

_RESOURCES: Final = "resources"
_Node = TypeVar("_Node", AssetNodeSnap, AssetCheckNodeSnap)


def limited_job(job: JobSnap, scope: Scope) -> JobSnap:
    """A job of the tenants, less the resources of others and the inputs of its ops.

    Dagster lists all resources of a code location in each of its jobs, and in the schema of its
    configuration. The inputs are called as what an asset is made from, which may be others'.
    """
    modes = [
        mode._replace(
            resource_def_snaps=[it for it in mode.resource_def_snaps if it.name in scope.resources]
        )
        for mode in job.mode_def_snaps
    ]
    roots = {mode.root_config_key for mode in job.mode_def_snaps if mode.root_config_key}
    schema = _limited_schema(job.config_schema_snapshot, roots, scope)
    return replace(
        job,
        mode_def_snaps=modes,
        config_schema_snapshot=schema,
        dep_structure_snapshot=_without_inputs(job.dep_structure_snapshot),
        node_defs_snapshot=NodeDefsSnapshot(
            op_def_snaps=[
                replace(it, input_def_snaps=[]) for it in job.node_defs_snapshot.op_def_snaps
            ],
            graph_def_snaps=[
                replace(
                    it,
                    input_def_snaps=[],
                    input_mapping_snaps=[],
                    dep_structure_snapshot=_without_inputs(it.dep_structure_snapshot),
                )
                for it in job.node_defs_snapshot.graph_def_snaps
            ],
        ),
    )


def _without_inputs(structure: DependencyStructureSnapshot) -> DependencyStructureSnapshot:
    return DependencyStructureSnapshot(
        [it._replace(input_dep_snaps=[]) for it in structure.node_invocation_snaps]
    )


def limited_plan(plan: ExecutionPlanSnapshot, scope: Scope) -> ExecutionPlanSnapshot:
    """The plan of a job of the tenants, less the inputs of its steps.

    Raises:
        NotForLimitedError: something in it is others'.
    """
    if not scope.has_all(key for step in plan.steps for key in step.entity_keys):
        raise NotForLimitedError("That plan")
    return plan._replace(steps=[step._replace(inputs=[]) for step in plan.steps])


def _limited_schema(
    schema: ConfigSchemaSnapshot, roots: Iterable[str], scope: Scope
) -> ConfigSchemaSnapshot:
    types = dict(schema.all_config_snaps_by_key)
    for root in roots:
        for field in types[root].fields or ():
            if field.name == _RESOURCES:
                types[field.type_key] = _with_fields(types[field.type_key], scope)
    return replace(schema, all_config_snaps_by_key=types)


def _with_fields(shape: ConfigTypeSnap, scope: Scope) -> ConfigTypeSnap:
    return replace(shape, fields=[it for it in shape.fields or () if it.name in scope.resources])


def limited_job_data(data: JobDataSnap, scope: Scope) -> JobDataSnap:
    """A job as a code location says it; what it is a part of may be others', too."""
    return replace(data, job=limited_job(data.job, scope), parent_job=None)


def limited_repository(whole: RepositorySnap, jobs: frozenset[str], scope: Scope) -> RepositorySnap:
    """A repository with what belongs to the tenants.

    Args:
        whole: all of it.
        jobs: the names of their jobs.
        scope: the tenants.
    """
    return RepositorySnap(
        name=whole.name,
        schedules=[it for it in whole.schedules if it.job_name in jobs],
        partition_sets=[it for it in whole.partition_sets if it.job_name in jobs],
        sensors=[it for it in whole.sensors if _is_on(it, jobs)],
        asset_nodes=[_limited_node(it, jobs, scope) for it in _theirs(whole.asset_nodes, scope)],
        job_datas=whole.job_datas
        and [limited_job_data(it, scope) for it in whole.job_datas if it.name in jobs],
        job_refs=whole.job_refs and [it for it in whole.job_refs if it.name in jobs],
        asset_check_nodes=[
            _limited_check(it, jobs, scope) for it in _theirs(whole.asset_check_nodes or (), scope)
        ],
    )


def _theirs(nodes: Iterable[_Node], scope: Scope) -> list[_Node]:
    return [it for it in nodes if scope.has(it.asset_key)]


def _is_on(sensor: SensorSnap, jobs: frozenset[str]) -> bool:
    """Whether a sensor is on the tenants' jobs alone; of a selection of assets nobody knows."""
    targets = {target.job_name for target in sensor.target_dict.values()}
    return bool(targets) and targets <= jobs and sensor.asset_selection is None


def _limited_node(node: AssetNodeSnap, jobs: frozenset[str], scope: Scope) -> AssetNodeSnap:
    """An asset, less what it is made from that is others'."""
    return replace(
        node,
        parent_edges=[it for it in node.parent_edges if scope.has(it.parent_asset_key)],
        job_names=[name for name in node.job_names if name in jobs],
    )


def _limited_check(
    check: AssetCheckNodeSnap, jobs: frozenset[str], scope: Scope
) -> AssetCheckNodeSnap:
    return replace(
        check,
        additional_asset_keys=[it for it in check.additional_asset_keys if scope.has(it)],
        job_names=[name for name in check.job_names if name in jobs],
    )
