"""Runs a command and inherits what it leaves behind: `python subreaper.py COMMAND...` (Linux).

A process that outlives its parent goes to the nearest "subreaper" above it. Without one it would
leave the tree of the service that started it, and its CPU time with it. Here the kernel adds up
all that has ended, and when the command has ended, or the benchmark has, nothing is left.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 5.0


def main(command: list[str]) -> int:
    """Run the command, then end what it left.

    Returns:
        Its exit code.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    child = subprocess.Popen(command)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark says when
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            break
    _end_orphans()
    return max(0, os.waitstatus_to_exitcode(status))


def _end_orphans() -> None:
    until = time.monotonic() + _GRACE_SECONDS
    children = Path("/proc/self/task", str(os.getpid()), "children")
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                if time.monotonic() > until:
                    for pid in children.read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
