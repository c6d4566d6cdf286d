"""Where the variables come from: the process's environment and, on a laptop, `.env`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values

from dagster_apollo.contract import PRODUCTION
from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.paths import CHECKOUT

_DAGSTER_COMMANDS = ("DAGSTER_IS_DEV_CLI", "DAGSTER_IS_DEFS_VALIDATION_CLI")

_command_line: dict[str, str | None] = {}


def note_target(target: str | None) -> None:
    """Take note of `--target`: it decides, later on too, whether `.env` counts."""
    _command_line["target"] = target


def read_environment(target: str | None = None) -> dict[str, str]:
    """The variables that count: the process's own and, on a laptop, those of `.env`.

    The real environment wins over `.env`; production does not read it.

    Args:
        target: `--target` of the command line, which wins over DBT_TARGET.

    Raises:
        ConfigurationError: `.env` cannot be read, or sets a tenant's DBT_TARGET to prod, which
            only the real environment or the command line may do.
    """
    real = _real_environment()
    target = target or _command_line.get("target")
    if target == PRODUCTION or (target is None and any(_production_targets(real))):
        return real
    values = _read_dotenv(CHECKOUT / ".env")
    problems = [
        Problem(
            name,
            "is set to the production target in .env, a file for laptops",
            "Remove the line from .env; set it in the service's environment, or pass "
            "--target for a single command",
        )
        for name in _production_targets(values)
    ]
    if problems:
        raise ConfigurationError(problems)
    return {**values, **real}


def _real_environment() -> dict[str, str]:
    """This process's environment, as it was before Dagster's own `.env` loader wrote over it.

    `dagster dev`, `dagster definitions validate` and `dg` load `.env` over the variables of their
    process and hand the result to the processes they start (dagster 1.13, _inject_local_env_file,
    EnvFileLoader). Each also sets a marker at run time, so the environment that the command itself
    was started with is that of the nearest process which began without the marker. Linux shows it;
    elsewhere what Dagster made of it has to do.
    """
    marker = next((name for name in _DAGSTER_COMMANDS if name in os.environ), None)
    process = os.getpid()
    while marker and process > 1:
        try:
            variables = _initial_environment(process)
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            status = Path(f"/proc/{process}/stat").read_text(errors="replace")
        except (OSError, UnicodeDecodeError):
            break
        if marker not in variables:
            return variables if b"dagster" in command or b"dg" in command else dict(os.environ)
        process = int(status.rpartition(")")[2].split()[1])
    return dict(os.environ)


def _initial_environment(process: int) -> dict[str, str]:
    content = Path(f"/proc/{process}/environ").read_bytes()
    pairs = (os.fsdecode(item).partition("=") for item in content.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def _production_targets(variables: Mapping[str, str]) -> Iterator[str]:
    """The variables, with and without a tenant's prefix, that choose production."""
    for name, value in variables.items():
        if (name == "DBT_TARGET" or name.endswith("__DBT_TARGET")) and value.strip() == PRODUCTION:
            yield name


def _read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file that have a value; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        values = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__  # the error itself holds the contents of the file
    else:
        return {name: value for name, value in values.items() if value}
    raise ConfigurationError(
        (Problem(str(path), f"cannot be read ({reason})", "Make it a readable UTF-8 file"),)
    )
