"""Every limit on what a client may send; each field's description states its own."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import strawberry
from strawberry.utils.str_converters import to_camel_case

from schema.error import RequestError

PAGE_SIZE = 20
PAGE_SIZE_MAX = 100
NODES_MAX = 100
CREDITS_MAX = 2_147_483_647
IDEMPOTENCY_KEY_LENGTH_MAX = 255
URL_LENGTH_MAX = 2_048
JSON_BYTES_MAX = 262_144
JSON_DEPTH_MAX = 32
NAME_LENGTH_MAX = 255  # names, handles, styles, e-mail addresses
TITLE_LENGTH_MAX = 500
MEMO_LENGTH_MAX = 1_000
TOPIC_LENGTH_MAX = 2_000
SCRIPT_LENGTH_MAX = 50_000
IMAGES_MAX = 100
SECONDS_MAX = 86_400
# What a large field counts in an operation's cost: it is read on its own, and 100 KB of it take as long as 50 values.
LARGE_FIELD_COST = 50


@dataclass(frozen=True, slots=True)
class _Text:
    length_max: int

    def __str__(self) -> str:
        return f"1 to {self.length_max:,} characters"

    def fault(self, value: Any) -> str | None:
        if not 1 <= len(value) <= self.length_max:
            return f"must have {self}, and has {len(value):,}"
        return unstorable(value)


@dataclass(frozen=True, slots=True)
class _Number:
    minimum: float
    maximum: float
    not_zero: bool

    def __str__(self) -> str:
        return f"{self.minimum:,} to {self.maximum:,}{', but not 0' if self.not_zero else ''}"

    def fault(self, value: Any) -> str | None:
        if self.minimum <= value <= self.maximum and not (self.not_zero and value == 0):
            return None
        return f"must be {self}, and is {value:,}"


@dataclass(frozen=True, slots=True)
class _List:
    length_max: int

    def __str__(self) -> str:
        return f"At most {self.length_max:,}"

    def fault(self, value: Any) -> str | None:
        return (
            None if len(value) <= self.length_max else f"must have at most {self.length_max:,}, and has {len(value):,}"
        )


Limit = _Text | _Number | _List


def text(description: str, length_max: int, **options: Any) -> Any:
    """Declare an input field for text; its description states the limit."""
    return _limited(description, _Text(length_max), options)


def number(description: str, minimum: float, maximum: float, *, not_zero: bool = False, **options: Any) -> Any:
    """Declare an input field for a number; its description states the range."""
    return _limited(description, _Number(minimum, maximum, not_zero), options)


def items(description: str, length_max: int, **options: Any) -> Any:
    """Declare an input field for a list; its description states the limit."""
    return _limited(description, _List(length_max), options)


def _limited(description: str, limit: Limit, options: dict[str, Any]) -> Any:
    return strawberry.field(description=f"{description} {limit}.", metadata={"limit": limit}, **options)


def unstorable(value: str) -> str | None:
    """Return why PostgreSQL cannot store a text: NUL, or lone surrogates, which UTF-8 does not have."""
    if "\0" in value:
        return "holds the character NUL, which cannot be stored"
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate), which cannot be stored"
    return None


class Limited:
    """An input that checks its limits when it is built, before any resolver runs, and reports every violation."""

    _limits: ClassVar[list[tuple[str, str, Limit]] | None] = None

    def __post_init__(self) -> None:
        if faults := self._faults():
            raise RequestError(
                "BAD_USER_INPUT",
                " ".join(f"`{field}` {fault}." for field, fault in faults),
                fields=[{"field": field, "message": fault} for field, fault in faults],
            )

    def _faults(self) -> list[tuple[str, str]]:
        cls = type(self)
        if cls._limits is None:
            cls._limits = [
                (field.name, to_camel_case(field.name), field.metadata["limit"])
                for field in fields(cls)  # type: ignore[arg-type]  # its subclasses are inputs, which are dataclasses
                if "limit" in field.metadata
            ]
        return [
            (public_name, fault)
            for name, public_name, limit in cls._limits
            if (value := getattr(self, name)) is not None
            and value is not strawberry.UNSET
            and (fault := limit.fault(value))
        ]
