"""What other processes of the same user can read of one that keeps itself private."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dagster_apollo.paths import CHECKOUT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]

SECRET = "s3cret-zq"
PRIVATE = "assert keep_private()"
NOBODY = """
import os
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""
"""Root may look into everything."""
HOLDS = f"""
import ctypes, subprocess, sys
from dagster_apollo.process_privacy import keep_private
{NOBODY}
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after exec: becoming nobody has changed it
exec(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
READS = f"""
import sys
{NOBODY}
for name in ("environ", "maps", "mem", "cmdline"):
    try:
        content = open(f"/proc/{{sys.argv[1]}}/{{name}}", "rb").read(64)
    except PermissionError:
        content = b"refused"
    except OSError:
        content = b"opened"
    print(name, content)
"""


@contextmanager
def holder(code: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of nobody, or of this user, that has a secret in its environment."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, code],
        cwd=CHECKOUT,
        env={"PATH": os.defpath, "SECRET": SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def seen_of(process: "subprocess.Popen[str]") -> dict[str, str]:
    """What another process of the same user reads."""
    command = [sys.executable, "-c", READS, str(process.pid)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in ended.stdout.splitlines())


def test_another_process_of_the_user_reads_the_environment_unless_it_is_kept_private() -> None:
    with holder("") as process:
        assert SECRET in seen_of(process)["environ"]
    with holder(PRIVATE) as process:
        seen = seen_of(process)
    assert [seen[name] for name in ("environ", "maps", "mem")] == ["b'refused'"] * 3
    assert "python" in seen["cmdline"], "which is how dbt is found (services/workers.py)"


def test_a_private_process_reads_of_itself_what_it_needs_and_starts_others() -> None:
    needs = """
for name in ("stat", "cgroup", "maps"):
    open(f"/proc/self/{name}").read()
assert os.listdir("/proc/self/fd")
assert os.environ["SECRET"]
assert subprocess.check_output(["/bin/sh", "-c", "echo $SECRET"], pass_fds=[1])
"""
    with holder(PRIVATE + needs) as process:
        assert process.poll() is None
