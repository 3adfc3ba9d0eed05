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


@lru_cache(256)
def preferred(accept: str, *, html: bool) -> str | None:
    """Return which type an Accept header ranks highest, None if it accepts none of ours; without one, it is JSON.

    Of equals, a page (where there is one) comes before GraphQL's own type, which comes before JSON; but for these two
    to be preferred they must be named, since a wildcard alone means JSON.
    """
    qualities = _qualities(accept) or {"*/*": 1.0}
    named = [HTML] * (html and HTML in qualities) + [GRAPHQL_RESPONSE] * (GRAPHQL_RESPONSE in qualities)
    best = max([*named, JSON, GRAPHQL_RESPONSE], key=partial(_quality, qualities))  # Of equals, the first.
    return best if _quality(qualities, best) else None


class Accepted(NamedTuple):
    """As what a client takes its answer, by its Accept header; None where it takes none so."""

    single: str | None
    stream: str | None  # instead of a single one
    subscription: str | None  # as a stream, too


@lru_cache(256)
def accepted(accept: bytes) -> Accepted:
    """Read an Accept header, once for all requests that have the same."""
    text = accept.decode("latin-1")
    streams = (preferred_stream(text, subscription=subscription) for subscription in (False, True))
    return Accepted(preferred(text, html=False), *streams)


def preferred_stream(accept: str, *, subscription: bool) -> str | None:
    """Return as which type of stream an Accept header wants an answer; None if as a single response, or not at all.

    A stream must be named. A subscription comes as the one that ranks highest, of equals as the first; anything else
    only where that ranks above all that a single response may be.
    """
    qualities = _qualities(accept)
    named = [each for each in qualities if each in {EVENT_STREAM, MULTIPART} and qualities[each]]
    best = max(named, key=partial(_quality, qualities), default=None)
    single = preferred(accept, html=False)
    if best is None or subscription or single is None or qualities[best] > _quality(qualities, single):
        return best
    return None


def _quality(qualities: Mapping[str, float], offer: str) -> float:
    matching = (each for each in (offer, "application/*", "*/*") if each in qualities)
    return qualities.get(next(matching, ""), 0)  # The most specific range decides, also when it says no.


def _qualities(accept: str) -> dict[str, float]:
    """Read the ranges of an Accept header with their qualities; a range whose quality makes no sense is left out."""
    qualities = {}
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if not {"subscriptionspec=1.0", 'subscriptionspec="1.0"'}.isdisjoint(parameters):
            name += ";subscriptionspec=1.0"
        if name and _QUALITY.fullmatch(quality):
            qualities[name] = float(quality)
    return qualities


@lru_cache(256)
def is_json(content_type: str) -> bool:
    """Whether a Content-Type header names JSON in UTF-8, as it also does where it names no charset."""
    name, *parameters = (each.strip() for each in content_type.lower().split(";"))
    charsets = [each.removeprefix("charset=").strip('"') for each in parameters if each.startswith("charset=")]
    return name == JSON and set(charsets) <= {"utf-8", "utf8"}
