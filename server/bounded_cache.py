"""A cache that strangers fill: bounded by its entries and by the text that they hold."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedCache(Generic[T]):
    """Remembers values by text, those used last, as long as their number and the characters of the texts allow."""

    def __init__(self, entries_max: int, characters_max: int) -> None:
        self._entries_max = entries_max
        self._characters_max = characters_max
        self._characters = 0
        self._entries: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def get(self, key: str) -> T | None:
        """Return what is remembered under the key, if anything is."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: str, value: T, characters: int) -> None:
        """Remember a value, unless it alone is too long, and forget what has not been used for longest."""
        if characters > self._characters_max:
            return
        if key in self._entries:
            self._characters -= self._entries.pop(key)[1]
        self._entries[key] = (value, characters)
        self._characters += characters
        while len(self._entries) > self._entries_max or self._characters > self._characters_max:
            _, (_, freed) = self._entries.popitem(last=False)
            self._characters -= freed

    def grow(self, key: str, characters: int) -> None:
        """Count more characters for the value of a key, if it is remembered."""
        if key in self._entries:
            value, before = self._entries.pop(key)
            self._characters -= before
            self.put(key, value, before + characters)
