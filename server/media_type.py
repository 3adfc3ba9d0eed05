"""Media types: which one a client prefers for its answer, and whether what it sent is JSON."""

import re
from functools import lru_cache

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
HTML = "text/html"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


@lru_cache(256)
def preferred(accept: str, *, html: bool) -> str | None:
    """Return which type an Accept header ranks highest, None if it accepts none of ours; without one, it is JSON.

    Of equals, a page (where there is one) comes before GraphQL's own type, which comes before JSON; but for these two
    to be preferred they must be named, since a wildcard alone means JSON.
    """
    qualities = _qualities(accept) or {"*/*": 1.0}

    def quality(offer: str) -> float:
        matching = (each for each in (offer, "application/*", "*/*") if each in qualities)
        return qualities.get(next(matching, ""), 0)  # The most specific range decides, also when it says no.

    named = [HTML] * (html and HTML in qualities) + [GRAPHQL_RESPONSE] * (GRAPHQL_RESPONSE in qualities)
    best = max([*named, JSON, GRAPHQL_RESPONSE], key=quality)  # Of equals, the first.
    return best if quality(best) else None


def _qualities(accept: str) -> dict[str, float]:
    """Read the ranges of an Accept header with their qualities; a range whose quality makes no sense is left out."""
    qualities = {}
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if name and _QUALITY.fullmatch(quality):
            qualities[name] = float(quality)
    return qualities


@lru_cache(256)
def is_json(content_type: str) -> bool:
    """Whether a Content-Type header names JSON in UTF-8, as it also does where it names no charset."""
    name, *parameters = (each.strip() for each in content_type.lower().split(";"))
    charsets = [each.removeprefix("charset=").strip('"') for each in parameters if each.startswith("charset=")]
    return name == JSON and set(charsets) <= {"utf-8", "utf8"}
