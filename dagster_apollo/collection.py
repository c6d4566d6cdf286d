"""Python's garbage collector, out of the way of what loads and stays.

Loading definitions makes hundreds of thousands of objects and hardly any garbage, and the collector
would look through all of them again and again.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage while something loads that stays."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
