"""An operation, and how its answer becomes objects."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from videocredits_client.errors import UnexpectedAnswerError

T = TypeVar("T")
Decode = Callable[[Any], Any]


class Operation(Generic[T]):
    """A document, and what its answer is read as."""

    def __init__(self, texts: Sequence[str], path: Sequence[str], result: Any) -> None:
        """Take the definitions, the path to the innermost field, and the type of what that holds."""
        self.document = "\n\n".join(texts)
        self._path = path
        self._decode = _decoder(result)

    def read(self, data: Any) -> T:
        """Return what an answer's `data` holds; UnexpectedAnswerError for what this client does not know."""
        try:
            for name in self._path:
                data = None if data is None else data[name]
            result: T = self._decode(data)
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswerError(
                f"The answer holds what this client does not know ({error}): install its newest version."
            ) from error
        return result


def as_variable(value: Any) -> Any:
    """Put inputs into GraphQL's words; JSON, which is anything of them that is no input, stays as it is."""
    match value:
        case _ if is_dataclass(value):
            return {_camel(field.name): as_variable(getattr(value, field.name)) for field in fields(value)}
        case list() | tuple():
            return [as_variable(each) for each in value]
        case _:
            return value


def as_input(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put a mutation's arguments into GraphQL's words."""
    return {_camel(name): as_variable(value) for name, value in arguments.items()}


@cache
def _decoder(type_: Any) -> Decode:
    """Make what turns JSON into a type: a class of ours, a union of such, a tuple, an enum, a time, or JSON itself."""
    match get_origin(type_) or type_:
        case origin if origin in (UnionType, Union):
            return _union(get_args(type_))
        case origin if origin is tuple:
            item = _decoder(get_args(type_)[0])
            return lambda items: tuple(item(each) for each in items)
        case origin if is_dataclass(origin):
            return _object(type_, origin)
        case datetime.datetime:
            return datetime.datetime.fromisoformat
        case origin if isinstance(origin, type) and issubclass(origin, StrEnum):
            return origin
        case _:
            return lambda value: value


def _object(type_: Any, origin: Any) -> Decode:
    decoders = []
    for name, hint in get_type_hints(origin).items():
        is_generic = getattr(hint, "__parameters__", ())
        decoders.append((name, _camel(name), _decoder(hint[get_args(type_)] if is_generic else hint)))
    return lambda value: origin(**{name: decode(value[key]) for name, key, decode in decoders})


def _union(members: tuple[Any, ...]) -> Decode:
    if NoneType in members:
        present = _decoder(members[0])
        return lambda value: None if value is None else present(value)
    by_name = {member.__name__: _decoder(member) for member in members}
    # A refusal that is newer than this client shows its code and message, as one does that has no type of its own.
    return lambda value: by_name.get(value["__typename"], by_name["OperationRefused"])(value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
