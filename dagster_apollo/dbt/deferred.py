"""Modules that are imported when something of them is used, not before.

dagster-dbt imports sqlglot, which only column lineage needs, and its client of dbt Cloud and its
components, which nothing here needs: a quarter of a second and 50 MB in each process.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any


class Deferred:
    """A name in a module that is imported when the name is used.

    Args:
        module: the module.
        name: what is meant in it.
    """

    def __init__(self, module: str, name: str) -> None:
        self._deferred = (module, name)

    @property
    def _value(self) -> Any:  # noqa: ANN401
        module, name = self._deferred
        return getattr(importlib.import_module(module), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """Call what is meant."""
        return self._value(*arguments, **named)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._value, name)


class _StandIn(ModuleType):
    """A module of which every name is deferred."""

    def __getattr__(self, name: str) -> Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return Deferred(self.__name__, name)


@contextlib.contextmanager
def imported_later(modules: Sequence[str]) -> Iterator[None]:
    """Let `from MODULE import NAME` import nothing yet; what is imported already stays.

    Args:
        modules: the modules' full names.
    """
    stand_ins = {name: _StandIn(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def resolve_on_access(module: ModuleType) -> None:
    """Have a module's deferred names be the real ones for whoever asks the module for them.

    Args:
        module: a module that was imported with `imported_later`.
    """
    names = {name: value for name, value in vars(module).items() if isinstance(value, Deferred)}
    otherwise: Callable[[str], Any] | None = vars(module).get("__getattr__")

    def find(name: str) -> Any:  # noqa: ANN401
        if name in names:
            value = names[name]._value
            setattr(module, name, value)
            return value
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    for name in names:
        delattr(module, name)
    if names:
        setattr(module, "__getattr__", find)  # noqa: B010
