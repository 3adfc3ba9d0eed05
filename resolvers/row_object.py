"""Objects that make a field when it is asked for."""

from collections.abc import Callable
from dataclasses import fields
from operator import itemgetter
from typing import Any, TypeVar

Object = TypeVar("Object")
Row = TypeVar("Row", bound=tuple[Any, ...])

# What makes a field, and the columns that it is made of.
Made = tuple[Callable[..., object], *tuple[str, ...]]


def object_from_row(type_: type[Object], row: type[Row], **made: Made) -> Callable[[Row], Object]:
    """Return what makes an object of a GraphQL type from a row: each field is made when it is asked for.

    A field that ``made`` says nothing of is the row's of the same name. Most operations ask for few of a type's fields,
    and to make them all took a quarter of the time that a page of videos takes.

    The object is a row itself: where it had one, each field was read in three times the time.
    """
    names = {field.name for field in fields(type_) if field.init}  # type: ignore[arg-type]  # as all of Strawberry's
    columns: tuple[str, ...] = getattr(row, "_fields", ())
    read = (names - made.keys()).union(*(of for _, *of in made.values()))
    if unknown := read.difference(columns) | (made.keys() - names):
        raise TypeError(f"{type_.__name__} of {row.__name__}: {', '.join(sorted(unknown))}")
    members = {name: property(_making(make, *map(columns.index, of))) for name, (make, *of) in made.items()}
    lazy = type(type_.__name__, (row, type_), members)
    new: Any = tuple.__new__
    return lambda row: new(lazy, row[:])  # A slice is a bare tuple, of which another is made in half the time.


def _making(make: Callable[..., object], *at: int) -> Callable[[tuple[Any, ...]], object]:
    match at:
        case (one,):
            return lambda row: make(row[one])
        case (one, other):
            return lambda row: make(row[one], row[other])
    of = itemgetter(*at)
    return lambda row: make(*of(row))
