"""Which asset each of dbt's tests is a check on, and the check's name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dagster_apollo.dbt.manifest import Manifest, is_asset
from dagster_apollo.names import default_path, digest, identifier, legible

Node = dict[str, Any]

_BETWEEN: Final = ("metrics", "semantic_models", "saved_queries", "functions")
"""What is between nodes without being an asset, beside ephemeral models."""


def attach_tests(manifest: Manifest) -> None:
    """Give each test one asset or source, so that it is a check on that.

    dbt attaches generic tests only. dagster-dbt takes the parent of a singular test with one, and
    asks for `meta.dagster.ref` in one with several; without it the result shows nowhere but in the
    log. The first node that the test refers to is as good a place as any, and a better one than a
    source. An ephemeral model is no asset: a test of one is a check on what the model is made from.
    """
    for node in manifest["nodes"].values():
        if node["resource_type"] != "test":
            continue
        parents = list(_assets_behind(manifest, node["depends_on"]["nodes"]))
        node["depends_on"] = {**node["depends_on"], "nodes": parents}
        candidates = (
            _named_by_ref(manifest, node),
            node.get("attached_node"),
            *sorted(parents, key=lambda key: key in manifest["sources"]),
        )
        node["attached_node"] = next((it for it in candidates if it in parents), None)
        _forget_ref(node)


def _assets_behind(manifest: Manifest, parents: Sequence[str]) -> Iterator[str]:
    """The assets and sources that nodes are, or are made from, each once."""
    seen: set[str] = set()
    waiting = list(reversed(parents))
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        node = manifest["nodes"].get(key)
        if key in manifest["sources"] or (node and is_asset(node)):
            yield key
        elif behind := node or _between(manifest, key):
            waiting += reversed(behind.get("depends_on", {}).get("nodes", []))


def _between(manifest: Manifest, key: str) -> Mapping[str, Any] | None:
    return next((manifest[it][key] for it in _BETWEEN if key in manifest.get(it, {})), None)


def _named_by_ref(manifest: Manifest, test: Node) -> str | None:
    """The asset that a test's `meta.dagster.ref` names, if there is one of that name."""
    meta = test["config"].get("meta") or test.get("meta") or {}
    ref = meta.get("dagster", {}).get("ref")
    if not ref:
        return None
    package = ref.get("package") or manifest["metadata"].get("project_name")
    wanted = (ref.get("name"), package, ref.get("version"))
    return next(
        (
            key
            for key, node in manifest["nodes"].items()
            if is_asset(node)
            and (node["name"], node["package_name"], node.get("version")) == wanted
        ),
        None,
    )


def _forget_ref(test: Node) -> None:
    for holder in (test, test["config"]):
        meta = holder.get("meta") or {}
        if "ref" in meta.get("dagster", {}):
            kept = {name: it for name, it in meta["dagster"].items() if name != "ref"}
            holder["meta"] = {**meta, "dagster": kept}


def settle_check_names(manifest: Manifest) -> None:
    """Rename tests whose names are not valid, or are used twice on one asset."""
    nodes: dict[str, Node] = {**manifest["nodes"], **manifest["sources"]}
    taken = {
        identifier(default_path(node))
        for node in nodes.values()
        if node["resource_type"] == "source" or is_asset(node)
    }
    tests = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node.get("attached_node")
    ]

    # a name that is valid is not given up for one that is mended to the same
    for test in sorted(tests, key=lambda it: (legible(it["name"]) != it["name"], it["unique_id"])):
        place = identifier(default_path(nodes[test["attached_node"]]))
        name = legible(test["name"], allowed=".")
        if f"{place}_{name}".replace(".", "_") in taken:
            name = f"{name}_{digest(test['unique_id'])}"
        taken.add(f"{place}_{name}".replace(".", "_"))
        test["name"] = name
