"""What a build starts from: the source as a clone has it, a Python, and a way to the packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dagster_apollo.paths import CHECKOUT

_INSTALLER = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "HTTP_PROXY", "HTTPS_PROXY")
_PIP_CONFIGS = (".config/pip/pip.conf", ".pip/pip.conf")


def copy_source(folder: Path) -> None:
    """Copy what a clone of this checkout would hold, and what is not committed yet."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, result.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)


def find_python(version: str) -> str:
    """A Python of the wanted minor version where there is one, else the one that runs this."""
    minor = ".".join(version.split(".")[:2])
    for name in _pythons(minor):
        probe = [name, "-c", "import ensurepip, sys; print(sys.executable)"]
        result = subprocess.run(probe, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return result.stdout.strip()
    raise AssertionError("no Python with ensurepip")


def _pythons(minor: str) -> Iterator[str]:
    if path := shutil.which(f"python{minor}"):
        yield path
    yield str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def installer_variables() -> dict[str, str]:
    """How this machine reaches its package index; nothing else of the environment is passed on."""
    found = {
        name: value for name, value in os.environ.items() if name.upper().startswith(_INSTALLER)
    }
    configs = [Path.home() / name for name in _PIP_CONFIGS if (Path.home() / name).exists()]
    if configs:
        found.setdefault("PIP_CONFIG_FILE", str(configs[0]))
    return found
