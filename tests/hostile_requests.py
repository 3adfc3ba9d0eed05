"""Bodies of a megabyte that are as expensive as possible before execution."""

import json
from collections.abc import Iterator
from hashlib import sha256

BYTES = 1_000_000
CREATE = "mutation($input: CreateVideoDataInput!) { createVideoData(input: $input) { __typename } }"
UPDATE = "mutation($input: UpdateVideoDataInput!) { updateVideoData(input: $input) { __typename } }"
VIDEOS = "query($f: VideoFilter) { viewer { videos(filter: $f) { nodes { id } } } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
NODE = "query($id: ID!) { node(id: $id) { id } }"
FIRST = "query($n: Int) { viewer { videos(first: $n) { nodes { id } } } }"
VIEWER = "{ viewer { id } }"

_IMAGE = '{"image":"https://a.b/c","start":1,"duration":1}'
_LONG = "a" * BYTES
_NOT_ASCII = "é" * (BYTES // 2)


def _many(item: str) -> str:
    """Write a list of a megabyte."""
    return f"[{','.join([item] * (BYTES // (len(item.encode()) + 1)))}]"


def _keys(name: str) -> str:
    """Write an object of a megabyte."""
    return json.dumps({f"{name}{number}": 1 for number in range(BYTES // (len(name) + 12))})


def _status(values: str) -> tuple[str, str]:
    return VIDEOS, f'{{"f":{{"status":{values}}}}}'


def _caption(value: str) -> tuple[str, str]:
    return CREATE, f'{{"input":{{"title":"a","videoStyle":"b","idempotencyKey":"c","caption":{value}}}}}'


def _images(values: str) -> tuple[str, str]:
    return UPDATE, f'{{"input":{{"recordId":"a","images":{values}}}}}'


def _variables() -> Iterator[tuple[str, tuple[str, str]]]:
    """List documents with their variables, by name."""
    for count in (4_500, BYTES // 20):
        yield f"{count} wrong enum values", _status(json.dumps([f"WRONG_ONE_{number}" for number in range(count)]))
    for item in ('"QUEUED"', "1", "[]", "{}", "null", "1.5"):
        yield f"enum values {item}", _status(_many(item))
        yield f"images {item}", _images(_many(item))
        yield f"JSON {item}", _caption(_many(item))
        yield f"JSON {item} and null", _caption(f"[{_many(item)},null]")
        yield f"ids {item}", (NODES, f'{{"ids":{_many(item)}}}')
        yield f"an id that is a list of {item}", (NODE, f'{{"id":{_many(item)}}}')
        yield f"a number that is a list of {item}", (FIRST, f'{{"n":{_many(item)}}}')
        yield f"text that is a list of {item}", (CREATE, f'{{"input":{{"title":{_many(item)}}}}}')
        yield f"a URL that is a list of {item}", (UPDATE, f'{{"input":{{"recordId":"a","audioUrl":{_many(item)}}}}}')
    yield "a long enum value", _status(f'["{_LONG}"]')
    yield "a long unknown field", (VIDEOS, f'{{"f":{{"{_LONG}":1}}}}')
    yield "long unknown fields", (VIDEOS, json.dumps({"f": {"s" * 30_000 + str(number): 1 for number in range(30)}}))
    yield "unknown fields of a filter", (VIDEOS, f'{{"f":{_keys("statu")}}}')
    yield "unknown fields of a video", (CREATE, f'{{"input":{_keys("titl")}}}')
    yield "a long script, fields missing", (CREATE, f'{{"input":{{"script":"{_NOT_ASCII}","a":1,"b":1}}}}')
    yield "a long script", (UPDATE, f'{{"input":{{"recordId":"a","script":"{_NOT_ASCII}"}}}}')
    yield "a long URL", (UPDATE, f'{{"input":{{"recordId":"a","audioUrl":"https://{_LONG}"}}}}')
    yield "images", _images(_many(_IMAGE))
    yield "images, the last wrong", _images(f"{_many(_IMAGE)[:-1]},{{}}]")
    yield "images, wrong URLs", _images(_many(_IMAGE.replace("https:", "http:")))
    yield "JSON keys", _caption(_keys(""))
    yield "JSON NUL", _caption(json.dumps("\0" * (BYTES // 6)))
    yield "JSON half characters", _caption(json.dumps("\ud800" * (BYTES // 6)))
    yield "JSON not finite", _caption(_many("1e999"))
    for digits in (25, 4_000):
        yield f"JSON numbers of {digits} digits", _caption(_many("9" * digits))
    for depth in (30, 200, 900, BYTES // 2):
        yield f"JSON {depth} levels deep", _caption(_many("[" * depth + "]" * depth))
    half, quarter = json.dumps([1] * 65_000), json.dumps([[]] * 43_000)
    yield "JSON as large as it may be", _caption(half)
    yield "JSON twice", (UPDATE, f'{{"input":{{"recordId":"a","captionJson":{quarter},"config":[{half},null]}}}}')
    yield "a number of many digits", (FIRST, f'{{"n":{"9" * BYTES}}}')
    yield "variables that are not declared", (VIEWER, _keys("v"))
    yield "variables that are a list", (VIEWER, _many("1"))
    names = [f"v{number}" for number in range(280)]
    declared = f"query({','.join(f'${name}: Int' for name in names)}) {{ viewer {{ id }} }}"
    yield "many variables", (declared, json.dumps(dict.fromkeys(names, "x" * 3_000)))


def _body(query: str, **more: str) -> bytes:
    written = ",".join(f'"{name}":{value}' for name, value in {"query": json.dumps(query), **more}.items())
    return f"{{{written}}}".encode()


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    """List bodies of about a megabyte, by name."""
    for name, (query, variables) in _variables():
        yield name, _body(query, variables=variables)
    text = VIEWER + " " * BYTES
    for query, hashed in ((VIEWER, _LONG), (text, sha256(text.encode()).hexdigest())):
        extensions = json.dumps({"persistedQuery": {"version": 1, "sha256Hash": hashed}})
        yield f"a document of {len(query)}, its hash of {len(hashed)}", _body(query, extensions=extensions)
    yield "extensions", _body(VIEWER, extensions=f'{{"a":{_many("{}")}}}')
    yield "a long operation name", _body("query a { viewer { id } }", operationName=f'"{_NOT_ASCII}"')
    yield "a long document id", f'{{"documentId":"{_LONG}"}}'.encode()
    yield "a long name", _body(f"{{ {_LONG} }}")
    yield "a document in escapes", b'{"query":"' + b"\\u00e9" * (BYTES // 6) + b'"}'
    yield "braces", b"{" * BYTES
    yield "brackets", b"[" * BYTES
    yield "blanks", b" " * BYTES
    yield "not UTF-8", b"\xff" * BYTES
    yield "keys", _keys("k").encode()
    yield "one key", b'{"query":"{ viewer { id } }",' + b",".join([b'"k":1'] * (BYTES // 6)) + b"}"
    yield "many operations", _many('{"query":"{viewer{id}}"}').encode()
    for number in ("1e308", "4.9e-324", "1.7976931348623157e308"):
        yield f"numbers {number}", _body(VIEWER, variables=f'{{"a":{_many(number)}}}')
    for end in ("}", "NaN", "9" * 5_000):
        for item in ("[]", "1"):
            yield f"{item}, then {end[:3]}", _body(VIEWER, variables=f'{{"a":{_many(item)[:-1]},{end}]}}')
