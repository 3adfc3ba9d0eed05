"""Every operation that the project knows, with valid and invalid variables, and rewritten to equivalent ones."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from importlib.resources import files
from random import Random
from typing import Any

from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLSchema,
    InlineFragmentNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_nullable_type,
    get_operation_ast,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
    parse,
    parse_value,
    print_ast,
    separate_operations,
    type_from_ast,
    visit,
)

from benchmarks.cases import CASES
from tests.api import MUTATIONS

SUBSCRIPTIONS = [
    "subscription { viewerUpdated { user { id credits videos(first: 2) { nodes { title } } } entry { id amount } } }",
    "subscription($id: ID!) { videoDataUpdated(id: $id) { id status renderProgress queuePosition user { credits } } }",
    """subscription($first: Int = 2, $filter: VideoFilter) { videosUpdated(first: $first, filter: $filter) {
      edges { cursor node { id status script } } pageInfo { hasNextPage endCursor }
    } }""",
    "subscription($after: String) { creditEntryAdded(after: $after) { cursor node { id kind videoData { id } } } }",
]


def project_documents() -> Iterator[str]:
    """List what the project's clients, examples, tests and benchmarks send, one operation each."""
    yield from MUTATIONS.values()
    yield from (case.document for case in CASES)
    yield from SUBSCRIPTIONS
    yield from (each.read_text(encoding="utf-8") for each in (files("server") / "pages" / "examples").iterdir())
    demo = parse((files("server") / "demo" / "operations.graphql").read_text(encoding="utf-8"))
    yield from map(print_ast, separate_operations(demo).values())


def varied(schema: GraphQLSchema, document: DocumentNode, random: Random) -> DocumentNode:
    """Rewrite selections with fragments, duplicates, conditions and aliases."""
    types = TypeInfo(schema)
    writer = _Writer(random, types)
    definitions = [*visit(document, TypeInfoVisitor(types, writer)).definitions, *writer.fragments]
    text = " ".join(map(print_ast, definitions))
    declared = [each for name, each in _SWITCHES.items() if f"${name}" in text]
    for index, each in enumerate(definitions):
        if isinstance(each, OperationDefinitionNode):
            definitions[index] = replace(each, variable_definitions=(*(each.variable_definitions or ()), *declared))
    return DocumentNode(definitions=tuple(definitions))


_SWITCHES = {
    name: definition.variable_definitions[0]
    for name, text in (("on", "query($on: Boolean! = true) { a }"), ("off", "query($off: Boolean = false) { a }"))
    for definition in parse(text).definitions
    if isinstance(definition, OperationDefinitionNode) and definition.variable_definitions
}


class _Writer(Visitor):
    def __init__(self, random: Random, types: TypeInfo) -> None:
        super().__init__()
        self.random = random
        self.types = types
        self.fragments: list[FragmentDefinitionNode] = []

    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode:
        parent = self.types.get_parent_type()
        assert parent is not None
        on = NamedTypeNode(name=NameNode(value=parent.name))
        return SelectionSetNode(selections=tuple(part for each in node.selections for part in self.written(each, on)))

    def written(self, selection: SelectionNode, on: NamedTypeNode) -> list[SelectionNode]:
        directives = self.directives()
        alone = SelectionSetNode(selections=(selection,))
        written: list[SelectionNode] = [selection]
        match self.random.randint(0, 19):
            case 0:
                written = [selection, selection]
            case 1:
                written = [replace(selection, directives=directives)]
            case 2:
                written = [InlineFragmentNode(directives=directives, selection_set=alone)]
            case 3:
                written.append(InlineFragmentNode(type_condition=on, directives=directives, selection_set=alone))
            case 4:
                name = NameNode(value=f"written{len(self.fragments)}")
                self.fragments.append(
                    FragmentDefinitionNode(name=name, type_condition=on, directives=(), selection_set=alone)
                )
                written = [FragmentSpreadNode(name=name, directives=directives)] * self.random.randint(1, 2)
            case 5 if isinstance(selection, FieldNode):
                written.append(replace(selection, alias=NameNode(value=self.random.choice("abc"))))
            case 6:
                written.insert(0, FieldNode(name=NameNode(value="__typename"), arguments=(), directives=()))
        return written

    def directives(self) -> tuple[DirectiveNode, ...]:
        if self.random.random() < 0.5:
            return ()
        value = parse_value(self.random.choice(["$on", "$off", "true", "false"]))
        condition = ArgumentNode(name=NameNode(value="if"), value=value)
        return (DirectiveNode(name=NameNode(value=self.random.choice(["skip", "include"])), arguments=(condition,)),)


def variables_of(
    schema: GraphQLSchema, document: DocumentNode, random: Random, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Generate variables for a document's one operation: mostly valid, sometimes missing, null or invalid."""
    definition = get_operation_ast(document)
    assert definition is not None
    return {
        each.variable.name.value: _json(type_from_ast(schema, each.type), random)
        for each in definition.variable_definitions or ()
        if only is None or each.variable.name.value in only
        if random.random() < 0.9 or is_non_null_type(type_from_ast(schema, each.type))
    }


_RIGHT: dict[str, list[Any]] = {
    "ID": ["a", "7", 7],
    "String": ["text", "7", "é"],
    "Int": [0, 3, 100, 2.0],
    "Float": [0, 0.5, 1],
    "Boolean": [True, False],
    "URL": ["https://example.com/a", "http://localhost/"],
    "JSON": [{"a": [1, {"b": None}]}, [], "text", 7],
}
_WRONG: list[Any] = [None, "", "x" * 600, -1, 2**40, 0.5, True, [], [None], {}, {"a": 1}, "a\0", "READY", float("nan")]


def _json(type_: Any, random: Random) -> Any:
    if random.random() < 0.01:
        return random.choice(_WRONG)
    if not is_non_null_type(type_) and random.random() < 0.1:
        return None
    nullable = get_nullable_type(type_)
    if is_list_type(nullable):
        return [_json(nullable.of_type, random) for _ in range(random.randint(0, 3))]
    if is_input_object_type(nullable):
        return {
            name: _json(field.type, random)
            for name, field in nullable.fields.items()
            if random.random() < 0.5 or (is_non_null_type(field.type) and random.random() < 0.995)
        }
    if isinstance(nullable, GraphQLEnumType):
        return random.choice(list(nullable.values))
    return random.choice(_RIGHT[nullable.name])
