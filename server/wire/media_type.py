"""Media types: which one a client prefers for its answer, and whether what it sent is JSON."""

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import NamedTuple

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"
# Apollo's for subscriptions: another of that type, which is not spoken here, is for single answers in parts.
MULTIPART = "multipart/mixed;subscriptionspec=1.0"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


# Each header is read once and remembered: 256 of each kind. One that is longer is not remembered, and means nothing.
HEADER_CHARACTERS_MAX = 2_048
HEADERS_REMEMBERED = 256

Qualities = Mapping[str, float]


def is_page_preferred(accept: str) -> bool:
    """Return whether an Accept header names HTML, and ranks it at least as high as any response type."""
    return len(accept) <= HEADER_CHARACTERS_MAX and _preferred(_qualities(accept), html=True) == HTML


class Accepted(NamedTuple):
    """As what a client takes its answer, by its Accept header; None where it takes none so."""

    single: str | None
    stream: str | None  # instead of a single one
    subscription: str | None  # as a stream, too


def accepted(accept: bytes) -> Accepted:
    """Read an Accept header."""
    return _accepted(accept) if len(accept) <= HEADER_CHARACTERS_MAX else Accepted(None, None, None)


@lru_cache(HEADERS_REMEMBERED)
def _accepted(accept: bytes) -> Accepted:
    qualities = _qualities(accept.decode("latin-1"))
    single = _preferred(qualities, html=False)
    # A stream must be named. A subscription comes as the one that ranks highest, of equals as the first; anything else
    # only where that ranks above all that a single response may be.
    named = [each for each in qualities if each in {EVENT_STREAM, MULTIPART} and qualities[each]]
    best = max(named, key=partial(_quality, qualities), default=None)
    is_first = best is not None and (single is None or qualities[best] > _quality(qualities, single))
    return Accepted(single, best if is_first else None, best)


def _preferred(qualities: Qualities, *, html: bool) -> str | None:
    """Return which type ranks highest, None if none of ours is accepted; without a header, it is JSON.

    Of equals, a page (where there is one) comes before GraphQL's own type, which comes before JSON; but for these two
    to be preferred they must be named, since a wildcard alone means JSON.
    """
    qualities = qualities or {"*/*": 1.0}
    named = [HTML] * (html and HTML in qualities) + [GRAPHQL_RESPONSE] * (GRAPHQL_RESPONSE in qualities)
    best = max([*named, JSON, GRAPHQL_RESPONSE], key=partial(_quality, qualities))  # Of equals, the first.
    return best if _quality(qualities, best) else None


def _quality(qualities: Qualities, offer: str) -> float:
    matching = (each for each in (offer, "application/*", "*/*") if each in qualities)
    return qualities.get(next(matching, ""), 0)  # The most specific range decides, also when it says no.


def _qualities(accept: str) -> Qualities:
    """Read the ranges of an Accept header with their qualities; a range whose quality makes no sense is left out."""
    qualities = {}
    for part in filter(None, accept.lower().split(",")):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if not {"subscriptionspec=1.0", 'subscriptionspec="1.0"'}.isdisjoint(parameters):
            name += ";subscriptionspec=1.0"
        if name and _QUALITY.fullmatch(quality):
            qualities[name] = float(quality)
    return qualities


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type header names JSON in UTF-8, which is the default charset."""
    return len(content_type) <= HEADER_CHARACTERS_MAX and _is_json(content_type)


@lru_cache(HEADERS_REMEMBERED)
def _is_json(content_type: str) -> bool:
    name, *parameters = (each.strip() for each in content_type.lower().split(";"))
    charsets = [each.removeprefix("charset=").strip('"') for each in parameters if each.startswith("charset=")]
    return name == JSON and set(charsets) <= {"utf-8", "utf8"}
