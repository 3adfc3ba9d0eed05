"""GraphQL objects made of rows, which compute fields on access."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import iscoroutinefunction
from operator import itemgetter
from typing import Any, TypeVar

Object = TypeVar("Object")
Row = TypeVar("Row", bound=tuple[Any, ...])

# A function that computes a field, and the columns that are its arguments.
Computed = tuple[Callable[..., object], *tuple[str, ...]]


def object_from_row(
    type_: type[Object], row: type[Row], *, beside: tuple[str, ...] = (), **computed: Computed
) -> Callable[..., Object]:
    """Return a function that wraps a row as an object of a GraphQL type; what is ``beside`` it follows as arguments.

    Fields in ``computed`` are computed on access, since most operations select few: computing all of them took a
    quarter of the time of a page of videos. Every other field is the row's column of the same name. The object is a
    subclass of the row: with the row as an attribute, reading a field took three times as long. By its `__columns__`
    the executor makes answers of it.
    """
    names = {field.name for field in fields(type_) if field.init}  # type: ignore[arg-type]  # as all of Strawberry's
    available: tuple[str, ...] = (*getattr(row, "_fields", ()), *beside)
    read = (names - computed.keys()).union(*(columns for _, *columns in computed.values()))
    if unknown := read.difference(available) | (computed.keys() - names):
        raise TypeError(f"{type_.__name__} of {row.__name__}: {', '.join(sorted(unknown))}")

    members = {
        name: property(_getter(compute, *map(available.index, columns)))
        for name, (compute, *columns) in computed.items()
    }
    wrapper = type(type_.__name__, (row, type_), {**members, "__columns__": _columns(names, available, computed)})
    new: Any = tuple.__new__
    if beside:
        return lambda row, *more: new(wrapper, row + more)
    return lambda row: new(wrapper, row[:])  # A slice is a plain tuple, which is copied in half the time.


def _columns(
    names: set[str], available: tuple[str, ...], computed: Mapping[str, Computed]
) -> dict[str, tuple[Callable[..., object] | None, *tuple[int, ...]]]:
    """Say how fields are made of a row. What is computed asynchronously is none of them."""
    return {
        name: (compute, *map(available.index, columns))
        for name, (compute, *columns) in {**{name: (None, name) for name in names}, **computed}.items()
        if not iscoroutinefunction(compute)
    }


def _getter(compute: Callable[..., object], *at: int) -> Callable[[tuple[Any, ...]], object]:
    match at:
        case (one,):
            return lambda row: compute(row[one])
        case (one, other):
            return lambda row: compute(row[one], row[other])
    columns = itemgetter(*at)
    return lambda row: compute(*columns(row))
