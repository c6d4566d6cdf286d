"""The helpers that Dagster's own compute logs start get no variables but those of the host.

Where runs' logs are files (a laptop, S3), Dagster (1.13) starts `tail` and a watcher of it beside
each run, with the whole environment: any process of the user could read all tenants' credentials
there (process_privacy.py).
"""

import os
import subprocess
import warnings
from typing import Any

from dagster._core.execution import compute_logs

from dagster_apollo.own_variables import is_host_variable


class _Subprocess:
    """The module `subprocess`, as far as Dagster's compute logs need it."""

    def Popen(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401, N802
        host = {name: value for name, value in os.environ.items() if is_host_variable(name)}
        return subprocess.Popen(command, **{"env": host, **options})


def keep_helpers_ignorant() -> None:
    """Start Dagster's helpers so from now on."""
    if not hasattr(compute_logs, "subprocess"):
        warnings.warn("Dagster has changed; its helpers get all variables", stacklevel=2)
        return
    setattr(compute_logs, "subprocess", _Subprocess())  # noqa: B010
