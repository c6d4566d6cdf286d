"""The environments that peers run in: made once for their requirements, and kept below .cache/."""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from benchmarks import process
from dagster_apollo.paths import CHECKOUT

PEERS: Final = Path(__file__).parent
_CACHE: Final = CHECKOUT / ".cache" / "benchmarks"
_DONE: Final = ".installed"


def folder_of(peer: str, requirements: bytes) -> Path:
    """Where the environment for some requirements is, or goes."""
    return _CACHE / f"{peer}-{hashlib.sha256(requirements).hexdigest()[:12]}"


def made(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made unless it is there.

    Raises:
        CommandError: it cannot be made, as where no package index is reached.
    """
    requirements = PEERS / peer / "requirements.txt"
    folder = folder_of(peer, requirements.read_bytes())
    python = folder / "bin" / "python"
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _CACHE.mkdir(parents=True, exist_ok=True)
        # compiled, as pip does it: the first start of a fresh environment is not what is measured
        install = ["pip", "install", "--require-hashes", "--compile-bytecode"]
        for arguments in (
            ["venv", "--python", sys.executable, os.fspath(folder)],
            [*install, "--python", os.fspath(python), "-r", os.fspath(requirements)],
        ):
            command = [sys.executable, "-m", "uv", "--quiet", *arguments]
            process.run(command, env=os.environ, cwd=_CACHE, log=_CACHE / f"{peer}.log")
        (folder / _DONE).touch()
    return python
