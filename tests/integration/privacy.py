"""What somebody without root's rights can look into, also where the tests run as root."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

_READS = """
import json, sys
found = {}
for pid in sys.argv[1:]:
    try:
        found[pid] = open(f"/proc/{pid}/environ", "rb").read().decode("latin-1")
    except OSError:
        pass
print(json.dumps(found))
"""


def unprivileged() -> list[str]:
    """The beginning of a command that takes root's rights to look into other processes away."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv (util-linux) to take root's rights away")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace,-sys_admin,-perfmon"]


def environments(pids: Sequence[int]) -> dict[int, str]:
    """The environments, as they were at the start, of those processes that can be looked into."""
    command = [*unprivileged(), sys.executable, "-c", _READS, *map(str, pids)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {int(pid): content for pid, content in json.loads(ended.stdout).items()}
