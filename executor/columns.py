"""Finds the function for an object by its class; and generates those of classes that promise what their fields are.

A class of tuples may have `__columns__`: by the names that fields have in Python, the indexes of the columns that each
is made of, after the function that makes it, or None for a column as it is. That promises that such a column is of the
field's Python type, and None only where the field may be null. So an object becomes a dict by one expression, which
does not look at what is promised: for a page of 20 videos in half the time.
"""

import datetime
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from graphql import GraphQLBoolean, GraphQLFloat, GraphQLID, GraphQLInt, GraphQLString, is_non_null_type
from graphql.type import get_nullable_type
from strawberry.types.scalar import identity

from executor.execution import Execution, ListFunction, ObjectFunction, Place

COLUMNS = "__columns__"
ATTRIBUTE = "__strawberry_definition__"
# What is no error, no awaitable and no null; what scalars make of values is looked at no further if it is of these.
PLAIN = frozenset(
    {str, int, float, bool, bytes, dict, list, tuple, datetime.datetime, datetime.date, datetime.time, Decimal, UUID}
)
# What serializes as it is; numbers are looked at all the same, since their columns may have more than their type.
AS_IT_IS = {GraphQLString: "type({})is str", GraphQLID: "type({})is str", GraphQLBoolean: "type({})is bool"}
NUMBERS = {
    GraphQLInt: "type({})is int and-2147483648<=v<=2147483647",
    GraphQLFloat: "type({})is float and v-v==0",
}

# An object's answer: the keys, each with the field's name in Python and its type; or with None and its text.
Outline = list[tuple[str, str | None, Any]]


class Functions(dict[type, ObjectFunction | None]):
    """The functions for objects, by their classes; None if they are left to graphql-core.

    ``lists`` has those for lists of objects of one class, where there is one. It raises what the others turn into the
    right errors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outlines: dict[type, Outline | None] = {}
        self.lists: dict[type, ListFunction] = {}

    def __missing__(self, class_: type) -> ObjectFunction | None:
        """Find the one for a class whose base has one: its objects are of the base's type unless it is of another."""
        found = None
        for base in class_.__mro__[1:] if is_plain(class_) else ():
            if base in self and getattr(class_, ATTRIBUTE, None) is getattr(base, ATTRIBUTE):
                found = self[base]
                outline, columns = self.outlines.get(base), getattr(class_, COLUMNS, None)
                if found is not None and outline and columns and _covers(columns, outline):
                    self.lists[class_] = _list_function(outline, columns)
                    found = _one(self.lists[class_], found)
                break
        self[class_] = found
        return found


def is_plain(class_: type) -> bool:
    """Return whether instances of a class are neither errors nor awaitable, nor can become so."""
    # That of objects and of tuples is Python's own way to read an attribute.
    own = {name for each in class_.__mro__ if each not in {object, tuple} for name in vars(each)}
    return not issubclass(class_, Exception) and own.isdisjoint({"__await__", "__getattr__", "__getattribute__"})


def _covers(columns: Mapping[str, object], outline: Outline) -> bool:
    return columns.keys() >= {name for _, name, _ in outline if name is not None}


def _one(many: ListFunction, otherwise: ObjectFunction) -> ObjectFunction:
    def function(x: Execution, value: Any, place: Place | None) -> Any:
        try:
            return many((value,))[0]
        except Exception:  # noqa: BLE001 - The other function makes the right error of it.
            return otherwise(x, value, place)

    return function


def _list_function(outline: Outline, columns: Mapping[str, tuple[Any, ...]]) -> ListFunction:
    """Generate the function that makes dicts of objects of one class."""
    names: dict[str, Any] = {"plain": PLAIN, "unlike": _unlike}

    def bind(value: object) -> str:
        names[f"c{len(names)}"] = value
        return f"c{len(names) - 1}"

    parts = []
    for key, name, type_ in outline:
        if name is None:
            parts.append(f"{key!r}:{type_!r}")
            continue
        compute, *indexes = columns[name]
        read = ",".join(f"s[{index}]" for index in indexes)
        if compute is not None:
            read = f"{bind(compute)}({read})"
        parts.append(f"{key!r}:{_expression(read, type_, bind, checked=compute is not None)}")
    lines = ["def many(l):", " r=[]", f" for s in l:r.append({{{','.join(parts)}}})", " return r"]
    exec("\n".join(lines), names)  # noqa: S102 - All names in it are GraphQL's, and values go beside it.
    many: ListFunction = names["many"]
    return many


def _expression(read: str, declared: Any, bind: Callable[[object], str], *, checked: bool) -> str:
    """Write what a value that is `read` is serialized to."""
    type_ = get_nullable_type(declared)
    serialize = type_.coerce_output_value
    class_ = getattr(type_, "wrapped_cls", None)
    answer = "v"
    if type_ in NUMBERS:
        check = NUMBERS[type_]
    elif class_ is not None:
        check = f"type({{}})is {bind(class_)}"
        answer = f"{bind({member.name: serialize(member) for member in class_})}[v._name_]"
    elif type_ in AS_IT_IS or serialize is identity or serialize is str:
        if not checked:
            return read
        check = AS_IT_IS.get(GraphQLString if serialize is str else type_, "type({})in plain")
    else:
        check = f"type(v:={bind(serialize)}({{}}))in plain"
    if is_non_null_type(declared):
        return f"{answer} if {check.format(f'(v:={read})')} else unlike()"
    return f"None if(v:={read})is None else {answer} if {check.format('v')} else unlike()"


def _unlike() -> None:
    raise TypeError
