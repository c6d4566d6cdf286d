"""`apollo dbt`."""

import os
import subprocess
from collections.abc import Sequence

from dagster_apollo.dbt.environment import dbt_environment
from dagster_apollo.dbt.interpreter import interpreter_of
from dagster_apollo.dbt.process import dbt_command
from dagster_apollo.dbt.variables import with_variables
from dagster_apollo.runtime import start


def run_dbt(name: str, arguments: Sequence[str], *, target: str | None) -> int:
    """Run dbt on this terminal for one tenant.

    Returns:
        dbt's exit code.

    Raises:
        ApolloError: bad configuration, no such tenant, one whose files cannot be used, or one whose
            own environment is not prepared.
    """
    runtime = start(names=[name], target=target)
    (settings,) = runtime.settings.tenants
    settings.tenant.require_sound()
    settings.paths.root.mkdir(parents=True, exist_ok=True)
    environment = dbt_environment(settings, runtime.profiles_dir(settings), os.environ)
    # dbt, in the same process group, gets the terminal's Ctrl-C itself; this process outlives it
    interpreter = interpreter_of(settings)
    with interpreter.held() as descriptors:
        process = subprocess.Popen(
            dbt_command(with_variables(arguments, settings.tenant.config.vars), interpreter),
            cwd=settings.tenant.project_dir,
            env={
                **environment,
                # the tenant's own folder stays as its authors wrote it
                "DBT_TARGET_PATH": os.fspath(settings.paths.root / "dbt"),
                "DBT_LOG_PATH": os.fspath(settings.paths.root / "dbt"),
                "DBT_USE_COLORS": "true" if os.isatty(1) else "false",
            },
            pass_fds=descriptors,
        )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
