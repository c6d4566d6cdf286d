"""Queries of everything that a GraphQL schema offers, as deep as is asked for."""

from collections.abc import Iterator, Set
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
)

Named = Any


def bare(kind: Any) -> Named:
    """A type without what says that it is a list, or may not be null."""
    while isinstance(kind, GraphQLList | GraphQLNonNull):
        kind = kind.of_type
    return kind


class Walk:
    """Makes selections of a schema's types.

    Args:
        schema: the schema.
        arguments: literals for the arguments of fields within answers that need some, by name.
        skipped: fields to leave out, as Type.field.
    """

    def __init__(self, schema: GraphQLSchema, arguments: dict[str, str], skipped: Set[str]) -> None:
        self._schema = schema
        self._arguments = arguments
        self._skipped = skipped

    def selection(self, kind: Named, depth: int, path: tuple[str, ...] = ()) -> str:
        """All fields of a type, and of those below it; nothing, where it is too deep."""
        if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
            return ""
        parts = ["__typename"]
        for type_ in self._objects(kind):
            inner = " ".join(self._fields(type_, depth, (*path, type_.name)))
            if inner:
                parts.append(f"... on {type_.name} {{ {inner} }}")
        return f"{{ {' '.join(parts)} }}"

    def _objects(self, kind: Named) -> list[GraphQLObjectType]:
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            return list(self._schema.get_possible_types(kind))
        assert isinstance(kind, GraphQLObjectType), kind
        return [kind]

    def _fields(self, type_: GraphQLObjectType, depth: int, path: tuple[str, ...]) -> Iterator[str]:
        for name, field in type_.fields.items():
            called = self._called(name, field)
            below = bare(field.type)
            leaf = isinstance(below, GraphQLScalarType | GraphQLEnumType)
            if called is None or f"{type_.name}.{name}" in self._skipped:
                continue
            if not leaf and (depth == 0 or below.name in path):
                continue
            # the alias keeps fields of one name and different types apart
            yield f"{type_.name}_{name}: {called} {self.selection(below, depth - 1, path)}"

    def _called(self, name: str, field: GraphQLField) -> str | None:
        """A field with what it must be given; None, where nobody knows what."""
        needed = [
            arg
            for arg, it in field.args.items()
            if isinstance(it.type, GraphQLNonNull) or arg == "limit"
        ]
        if not set(needed) <= self._arguments.keys():
            return None
        given = ", ".join(f"{arg}: {self._arguments[arg]}" for arg in needed)
        return f"{name}({given})" if given else name
