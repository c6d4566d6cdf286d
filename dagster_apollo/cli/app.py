"""The commands of `apollo`, and how they end."""

import sys
import traceback
from typing import Annotated

import typer

from dagster_apollo import __version__
from dagster_apollo.errors import EXIT_DEFECT, ApolloError
from dagster_apollo.process_privacy import keep_private

app = typer.Typer(
    name="apollo",
    help="dbt projects, orchestrated by Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would print local variables, secrets among them
    rich_markup_mode=None,
)
tenant_app = typer.Typer(help="The tenants: the dbt projects of this checkout.")
app.add_typer(tenant_app, name="tenant")
user_app = typer.Typer(help="Users who sign in to the UI by password.")
app.add_typer(user_app, name="user")
token_app = typer.Typer(help="Tokens by which scripts reach the UI's API.")
app.add_typer(token_app, name="token")

TenantNames = Annotated[
    list[str] | None, typer.Argument(metavar="[TENANT]...", help="Tenants; all if none is named.")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", "-t", help="local, dev or prod; wins over DBT_TARGET.")
]
RoleOption = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]
TenantsOption = Annotated[
    str | None,
    typer.Option("--tenants", metavar="A,B", help="Limit the role to tenants. [default: all]"),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def build(
    tenants: TenantNames = None,
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="dbt's --select; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="dbt's --exclude; may be repeated.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Rebuild incremental models and seeds.")
    ] = False,
    target: TargetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run dbt build as a Dagster run. Exit code 0: all passed, 1: a node failed, 2: bad setup."""
    from dagster_apollo.cli.build import build_tenants
    from dagster_apollo.run import BuildRequest

    request = BuildRequest(
        " ".join(select) if select else None, " ".join(exclude) if exclude else None, full_refresh
    )
    raise typer.Exit(build_tenants(tenants or [], request, target=target, as_json=as_json))


@app.command()
def resume(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The id of a run that failed.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")] = False,
) -> None:
    """Go on with a run: build what failed or was not reached, and nothing that was built."""
    from dagster_apollo.cli.resume import resume_run

    raise typer.Exit(resume_run(run_id, dry_run=dry_run))


@app.command()
def dev(
    port: Annotated[int, typer.Option("--port", "-p", help="The UI's port.")] = 3000,
    host: Annotated[str, typer.Option("--host", help="The UI's address.")] = "127.0.0.1",
    target: TargetOption = None,
) -> None:
    """Prepare what is stale, then open Dagster's UI, daemon included."""
    from dagster_apollo.cli.dev import run_dev

    run_dev(host=host, port=port, target=target)


@app.command()
def prepare(
    tenants: TenantNames = None,
    force: Annotated[bool, typer.Option("--force", help="Prepare from nothing.")] = False,
    target: TargetOption = None,
) -> None:
    """Install dbt packages and parse the projects, without touching the warehouse."""
    from dagster_apollo.cli.prepare import prepare_tenants

    prepare_tenants(tenants or [], force=force, target=target)


@app.command()
def doctor(
    tenants: TenantNames = None,
    connect: Annotated[bool, typer.Option("--connect", help="Log in to the warehouse.")] = False,
    target: TargetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check the configuration; each finding comes with its mend. Exit code 2 on an error."""
    from dagster_apollo.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(tenants or [], connect=connect, target=target, as_json=as_json))


@app.command(context_settings={"ignore_unknown_options": True})
def dbt(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGS...", help="dbt's arguments.")
    ] = None,
    target: TargetOption = None,
) -> None:
    """Run plain dbt with the tenant's profile and secrets. The exit code is dbt's."""
    from dagster_apollo.cli.dbt import run_dbt

    raise typer.Exit(run_dbt(tenant, arguments or [], target=target))


@app.command()
def migrate() -> None:
    """Bring the Postgres database's schema to the one of this release; run once a deploy."""
    from dagster_apollo.cli.migrate import run_migrate

    run_migrate()


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show services, queue, runs, tenants, failures, ticks. Exit code 1: something is wrong."""
    from dagster_apollo.cli.status import show_status

    raise typer.Exit(show_status(as_json=as_json))


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what goes as JSON.")] = False,
) -> None:
    """Remove history that is older than APOLLO_RETENTION_... say; the daemon does so daily."""
    from dagster_apollo.cli.prune import run_prune

    run_prune(dry_run=dry_run, as_json=as_json)


@app.command()
def daemon() -> None:
    """Run schedules, sensors and the run queue; of several daemons exactly one is active."""
    from dagster_apollo.cli.daemon import run

    raise typer.Exit(run())


@app.command("code-server")
def code_server(
    host: Annotated[str, typer.Option("--host", help="The address to serve at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", "-p", help="The port; by default PORT, else 4000.")
    ] = None,
) -> None:
    """Serve the tenants to webserver and daemon, and execute the runs."""
    from dagster_apollo.cli.code_server import run

    raise typer.Exit(run(host=host, port=port))


@app.command()
def webserver(
    host: Annotated[str, typer.Option("--host", help="The address to serve at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", "-p", help="The port; by default PORT, else 3000.")
    ] = None,
) -> None:
    """Serve the UI to those who have signed in."""
    from dagster_apollo.cli.webserver import run

    raise typer.Exit(run(host=host, port=port))


@user_app.command("hash")
def user_hash(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")],
    role: RoleOption = "viewer",
    tenants: TenantsOption = None,
) -> None:
    """Ask for a password, and print the user's entry for APOLLO_USERS."""
    from dagster_apollo.cli.user import hash_user

    hash_user(name, role=role, tenants=tenants)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the token.")],
    role: RoleOption = "viewer",
    tenants: TenantsOption = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=3650, help="For how long it is valid.")
    ] = None,
) -> None:
    """Make a token, and print it this once."""
    from dagster_apollo.cli.token import create

    create(name, role=role, days=days, tenants=tenants)


@token_app.command("list")
def token_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print the tokens as JSON.")] = False,
) -> None:
    """List the tokens."""
    from dagster_apollo.cli.token import show

    show(as_json=as_json)


@token_app.command("revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")],
) -> None:
    """Make a token worthless."""
    from dagster_apollo.cli.token import revoke

    revoke(name)


@tenant_app.command("list")
def tenant_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print the tenants as JSON.")] = False,
    changed_since: Annotated[
        str | None,
        typer.Option(metavar="COMMIT", help="Only those that changes since a commit touch."),
    ] = None,
) -> None:
    """List the tenants."""
    from dagster_apollo.cli.tenant import list_tenants

    list_tenants(as_json=as_json, changed_since=changed_since)


@tenant_app.command("new")
def tenant_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.")],
) -> None:
    """Write the dbt project of a new tenant; it builds at once."""
    from dagster_apollo.cli.tenant import new_tenant

    new_tenant(name)


@tenant_app.command("check")
def tenant_check(
    names: TenantNames = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Say all that would keep tenants from production, without a warehouse. Exit code 2: some."""
    from dagster_apollo.cli.tenant import check_tenants

    raise typer.Exit(check_tenants(names or [], as_json=as_json))


def main() -> None:
    """Run the command line; errors that a person can mend are printed without a traceback."""
    keep_private()
    try:
        app()
    except ApolloError as error:
        print(f"apollo: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        sys.exit(EXIT_DEFECT)  # 1 is for a node that failed
