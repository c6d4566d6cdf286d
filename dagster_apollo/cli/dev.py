"""`apollo dev`."""

import os
import signal
import sys

from rich.console import Console

from dagster_apollo.cli.prepare import prepare_with_progress
from dagster_apollo.errors import PrepareError
from dagster_apollo.instance.home import WORKSPACE, ensure_home
from dagster_apollo.runtime import start


def run_dev(*, host: str, port: int, target: str | None) -> None:
    """Become `dagster dev`, with everything prepared and the instance directory set.

    Raises:
        ApolloError: bad configuration, or the only project is one that dbt cannot parse.
    """
    console = Console(stderr=True, highlight=False)
    runtime = start(target=target)
    tenants = runtime.settings.tenants
    if not any(tenant.is_production for tenant in tenants):
        try:
            prepare_with_progress(runtime, tenants, console)
        except PrepareError as error:
            if len(tenants) == 1:
                raise
            text = f"\n{error}\n\nThe UI shows what failed as failed, and the other tenants."
            console.print(text, markup=False, soft_wrap=True)
    home = ensure_home(runtime.settings.dagster_home)
    runtime.profiles.remove()  # exec skips the clean-up at exit; the code server writes its own
    console.print(f"Dagster's UI: http://{host}:{port}   (Ctrl-C ends it)")
    arguments = [
        *("dagster", "dev", "--host", host, "--port", str(port), "--workspace", str(WORKSPACE)),
    ]
    os.chdir(home)  # in the checkout Dagster would load .env itself, over the real environment
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    if target is not None:  # it wins over a tenant's own DBT_TARGET, too
        prefixes = ["", *(item.tenant.variable_prefix for item in runtime.settings.tenants)]
        own = {f"{prefix}DBT_TARGET" for prefix in prefixes} & environment.keys()
        environment |= dict.fromkeys(own | {"DBT_TARGET"}, target)
    # a shell script's background job inherits SIGINT ignored, and Dagster would then ignore SIGTERM
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)  # noqa: S606
