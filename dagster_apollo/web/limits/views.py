"""How a view of one of Dagster's parts is made: what it does not say is refused."""

import abc
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dagster_apollo.web.limits.scope import NotForLimitedError

_PLUMBING: Final = frozenset({"has_instance", "register_instance"})
"""How a part of Dagster's knows its instance; that of a view is the view of the instance."""
_T = TypeVar("_T")


class Refused:
    """Stands in a view for a member that nobody has limited."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, view: object | None, owner: type) -> "Refused":
        if view is None:
            return self
        raise NotForLimitedError(f"{owner.__name__}.{self._name}")


def refusing(base: type, *kept: str) -> Callable[[type[_T]], type[_T]]:
    """Refuse, in a view, all members of its base that the view does not define itself.

    Args:
        base: the class of Dagster's that the view is to pass for.
        kept: members of the base that only use others of the view.
    """

    def refuse(view: type[_T]) -> type[_T]:
        for name in members(base) - set(kept):
            if name not in vars(view):
                setattr(view, name, Refused(name))
        abc.update_abstractmethods(view)
        return view

    return refuse


def made(view: Callable[..., _T], *arguments: Any) -> _T:  # noqa: ANN401
    """A view; all that is abstract in its base is refused, which a type checker cannot know."""
    return view(*arguments)


def members(base: type) -> frozenset[str]:
    """The members of a class that a view of it has to limit, or refuse.

    Private ones are helpers of these: in a view they find nothing but what it lets them have.
    """
    return frozenset(name for name in dir(base) if not name.startswith("_")) - _PLUMBING


def passed(name: str) -> Any:  # noqa: ANN401 - a property, for whatever the base declares
    """A property of the view that says what the whole says: whether it can do something."""
    return property(lambda view: getattr(view._whole, name))
