"""dbt projects of any size, made to measure with.

Models stand in layers of fifty; each reads two of the layer before it, as marts read staging
models. Layers are tables and views in turns: views of views would make the warehouse's work for a
model double with each layer, and the cost of orchestrating vanish beside it. Every model has the
same number of generic tests, which dbt runs one by one.
"""

from pathlib import Path
from typing import Final

import yaml

LAYER: Final = 50
TESTS: Final = ("not_null", "unique", {"accepted_values": {"values": [1], "quote": False}})


def make_project(root: Path, models: int, tests_per_model: int = 3) -> Path:
    """Write a project.

    Args:
        root: the folder to write it to; its name without `dbt_` becomes the project's name.
        models: how many models there are.
        tests_per_model: how many tests each of them has, 0 to 3.

    Returns:
        The folder.
    """
    name = root.name.removeprefix("dbt_")
    (root / "models").mkdir(parents=True)
    (root / "dbt_project.yml").write_text(
        yaml.safe_dump(
            {
                "name": name,
                "version": "1.0.0",
                "profile": name,
                "model-paths": ["models"],
                "flags": {"send_anonymous_usage_stats": False},
                "models": {name: {"+materialized": "table", "+schema": "main"}},
            }
        )
    )
    for number in range(models):
        (root / "models" / f"{model_name(number)}.sql").write_text(_sql(number))
    properties = [_properties(number, tests_per_model) for number in range(models)]
    (root / "models" / "schema.yml").write_text(
        yaml.safe_dump({"version": 2, "models": properties}, sort_keys=False)
    )
    return root


def model_name(number: int) -> str:
    """The name of a model."""
    return f"model_{number:05d}"


def _sql(number: int) -> str:
    layer, place = divmod(number, LAYER)
    if layer == 0:
        return "select 1 as id\n"
    parents = {(layer - 1) * LAYER + place, (layer - 1) * LAYER + (place + 1) % LAYER}
    unions = "\nunion all\n".join(
        f"select id from {{{{ ref('{model_name(parent)}') }}}}" for parent in sorted(parents)
    )
    config = "{{ config(materialized='view') }}\n" if layer % 2 else ""
    return f"{config}select min(id) as id from (\n{unions}\n)\n"


def _properties(number: int, tests_per_model: int) -> dict[str, object]:
    column = {"name": "id", "data_tests": list(TESTS[:tests_per_model])}
    return {"name": model_name(number), "columns": [column]}
