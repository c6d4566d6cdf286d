"""Keeps what a process holds from the other processes of its user, as far as the system lets it.

A tenant's dbt can run Python, and on Linux a process may read the environment and the memory of
another one of the same user: `/proc/PID/environ` of the process that started it has the variables
of all tenants. What is not "dumpable" can be looked into by root alone (proc(5), prctl(2)). The
system forgets it with exec(2), so each program says so itself, as early as it can; that moment is
what remains (docs/architecture.md, Limits).

It costs core dumps, and debuggers such as py-spy then need root. What a process reads of itself is
still there but for /proc/self/environ, which nothing in production reads.
"""

import ctypes
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def keep_private() -> bool:
    """Let no other process of this user look into this one, until it executes another program.

    Returns:
        Whether that is so; elsewhere than on Linux it is not.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
