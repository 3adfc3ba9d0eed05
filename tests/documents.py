"""Documents of clients and attackers: random ones on the schema, and the most expensive that we know."""

import re
from collections.abc import Iterator
from random import Random

from graphql import (
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_composite_type,
)

from server.operations.root_fields import build_schema

SCHEMA = build_schema()._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
VARIABLES = {"n": "Int", "m": "Int = 7", "ids": "[ID!]!", "yes": "Boolean = true"}

Fragments = dict[str, tuple[str, str]]  # By name: its type condition, and its text.


def random_document(random: Random) -> str:
    """Write a document of one or two queries, valid except for missing arguments and conflicting fields."""
    fragments: Fragments = {}
    for number in range(random.randint(0, 5)):
        on = random.choice(["Query", "User", "VideoData", "VideoDataConnection", "CreditEntry", "Node", "__Type"])
        selected = _selections(random, SCHEMA.type_map[on], random.randint(0, 3), fragments)
        fragments[f"f{number}"] = (on, f"fragment f{number} on {on}{_directives(random)} {{ {selected} }}")
    operations = []
    for number in range(random.randint(1, 2)):
        selected = _selections(random, SCHEMA.type_map["Query"], random.randint(1, 5), fragments)
        operations.append((f"query q{number}", f"{_directives(random)} {{ {selected} }}"))
    used = _used(" ".join(text for _, text in operations), fragments)
    parts = [fragments[name][1] for name in used]
    for start, text in operations:
        reached = text + " ".join(fragments[name][1] for name in _used(text, fragments))
        variables = [f"${name}: {kind}" for name, kind in VARIABLES.items() if f"${name}" in reached]
        parts.append(f"{start}{_parenthesized(variables)}{text}")
    random.shuffle(parts)
    return "\n".join(parts)


def _used(text: str, fragments: Fragments) -> list[str]:
    used: list[str] = []
    pending = [text]
    while pending:
        for name in re.findall(r"\.\.\.(f\d)", pending.pop()):
            if name not in used:
                used.append(name)
                pending.append(fragments[name][1])
    return used


def _selections(random: Random, on: GraphQLNamedType, depth: int, fragments: Fragments) -> str:
    selections = []
    for _ in range(random.randint(1, 3)):
        spreads = [name for name, (type_name, _) in fragments.items() if type_name == on.name]
        if spreads and random.random() < 0.3:
            selections.append(f"...{random.choice(spreads)}{_directives(random)}")
        elif isinstance(on, GraphQLInterfaceType | GraphQLUnionType):
            inside = random.choice(SCHEMA.get_possible_types(on))
            selected = _selections(random, inside, max(depth - 1, 0), fragments)
            selections.append(f"... on {inside.name}{_directives(random)} {{ {selected} }}")
        elif random.random() < 0.1:
            selections.append(f"...{_directives(random)} {{ {_selections(random, on, max(depth - 1, 0), fragments)} }}")
        else:
            selections.append(_field(random, on, depth, fragments))
    return " ".join(selections)


def _field(random: Random, on: GraphQLNamedType, depth: int, fragments: Fragments) -> str:
    assert isinstance(on, GraphQLObjectType)
    alias = random.choice(["", "", "", "a: ", "b: "])
    fields = {
        name: field for name, field in on.fields.items() if depth or not is_composite_type(get_named_type(field.type))
    }
    if not fields:
        return f"{alias}__typename{_directives(random)}"
    name, field = random.choice(list(fields.items()))
    arguments = []
    if "first" in field.args:
        arguments = random.choice(
            [
                [],
                ["first: 3"],
                ["last: 2"],
                ["first: $n"],
                ["last: $m"],
                ["first: null", "last: $n"],
                ["first: $m", "last: 4"],
                ["first: 1000"],
                ["first: -3"],
            ]
        )
    elif "ids" in field.args:
        arguments = [random.choice(['ids: ["a", "b"]', "ids: $ids", 'ids: "a"'])]
    elif "id" in field.args:
        arguments = ['id: "a"']
    text = f"{alias}{name}{_parenthesized(arguments)}{_directives(random)}"
    type_ = get_named_type(field.type)
    return f"{text} {{ {_selections(random, type_, depth - 1, fragments)} }}" if is_composite_type(type_) else text


def _parenthesized(parts: list[str]) -> str:
    return f"({', '.join(parts)})" if parts else ""


def _directives(random: Random) -> str:
    return random.choice([""] * 8 + [" @include(if: $yes)", " @skip(if: false) @include(if: true)"])


def hostile_documents() -> Iterator[tuple[str, str]]:
    """List the documents of up to 64 KiB that cost the most to parse, measure or validate, by name."""
    names = ["id", "title", "status", "script", "caption", "attempt", "version", "topic", "cost", "videoStyle"]
    yield (
        "fragments that double 130 times",
        "{ viewer { ...f0 } }"
        + "".join(f"fragment f{n} on User {{ ...f{n + 1} ...f{n + 1} }}" for n in range(130))
        + "fragment f130 on User { id }",
    )
    yield (
        "a chain of fragments",
        "{ viewer { ...f0 } }"
        + "".join(f"fragment f{n} on User {{ ...f{n + 1} }}" for n in range(180))
        + "fragment f180 on User { id }",
    )
    yield (
        "a cycle of fragments",
        "{ viewer { ...f0 } }" + "".join(f"fragment f{n} on User {{ ...f{(n + 1) % 180} }}" for n in range(180)),
    )
    yield (
        "fragments that all spread each other",
        "{ viewer { ...f0 } }"
        + "".join(f"fragment f{n} on User {{ {' '.join(f'...f{m}' for m in range(20))} }}" for n in range(20)),
    )
    yield (
        "many fragments in one place",
        '{ videoData(id: "a") {'
        + " ".join(f"...f{n}" for n in range(140))
        + "} }"
        + "".join(f"fragment f{n} on VideoData {{ {names[n % 10]} }}" for n in range(140)),
    )
    yield (
        "fragments that meet in pairs",
        "{"
        + " ".join(f'videoData(id: "a") {{ ...f{n} }}' for n in range(20))
        + "}"
        + (
            "".join(f"fragment f{n} on VideoData {{ user {{ ...g{n} }} {' '.join(names)} }}" for n in range(20))
            + "".join(f"fragment g{n} on User {{ id name email videos {{ nodes {{ id }} }} }}" for n in range(20))
        ),
    )
    for count in (200, 400, 4000):
        yield f"{count} aliases", "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(count)) + "}"
        yield f"{count} times one field", "{ viewer {" + " id" * count + "} }"
        yield f"{count} unknown names", "{ viewer {" + " ".join(f"creditEntrie{n}" for n in range(count)) + "} }"
        yield f"{count} unknown arguments", "{ viewer(" + " ".join(f"a{n}: 1" for n in range(count)) + ") { id } }"
        yield f"{count} times one argument", "{ users(" + "first: 1 " * count + ") { nodes { id } } }"
        yield f"{count} directives", "{ viewer" + " @skip(if: false)" * count + " { id } }"
        yield f"{count} unknown directives", "{ viewer" + " @a" * count + " { id } }"
        yield (
            f"{count} operations",
            " ".join(f"query q{n} {{ ...f }}" for n in range(count)) + "fragment f on Query { viewer { id } }",
        )
        yield f"{count} variables", "query(" + " ".join(f"$v{n}: Int" for n in range(count)) + ") { viewer { id } }"
        yield (
            f"{count} unknown input fields",
            "mutation { createVideoData(input: {" + " ".join(f"a{n}: 1" for n in range(count)) + "}) { __typename } }",
        )
        yield (
            f"{count} unknown enum values",
            "{ videos(filter: {status: [" + " ".join(f"QUEUE{n}" for n in range(count)) + "]}) { nodes { id } } }",
        )
        yield f"{count} levels of fields", "{ viewer" + "{ a" * count + "}" * count + "}"
        yield f"{count} levels of inline fragments", "{ viewer { id " + "... {" * count + "id" + "}" * count + "} }"
        yield f"{count} levels of lists", "{ nodes(ids: " + "[" * count + "]" * count + ") { id } }"
        yield f"{count} levels of objects", "{ nodes(ids: " + "{a: " * count + "1" + "}" * count + ") { id } }"
        yield f"{count} levels of a type", "query($a: " + "[" * count + "Int" + "]" * count + ") { viewer { id } }"
        yield f"{count} types", " ".join(f"type T{n} {{ a: Int }}" for n in range(count))
    yield (
        "introspection by aliases",
        "{" + " ".join(f"a{n}: __schema {{ types {{ fields {{ args {{ name }} }} }} }}" for n in range(20)) + "}",
    )
    yield "introspection in circles", "{ __schema { types { " + "fields { type { " * 6 + "name" + "} }" * 6 + "} } }"
    yield "a long string", '{ node(id: "' + "a" * 65_000 + '") { id } }'
    yield "many escapes", '{ node(id: "' + "\\n" * 32_000 + '") { id } }'
    yield "a block of empty lines", '{ node(id: """' + "\n" * 65_000 + '""") { id } }'
    yield "a string without end", '{ node(id: "' + "a" * 65_000
    yield "many comments", "{ viewer" + "#\n" * 32_000 + "{ id } }"
    yield "a long number", "{ users(first: " + "9" * 65_000 + ") { nodes { id } } }"
    yield "a long name", "{ " + "a" * 65_000 + " }"
    yield "blanks", "{ viewer" + " " * 65_000 + "{ id } }"
    yield "braces", "{" * 65_000
    yield "dots", "." * 65_000
    yield "half a character", '{ node(id: "\\uD800") { id } }'
