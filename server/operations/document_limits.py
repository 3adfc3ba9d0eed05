"""What a document may ask for: every limit, and how a document is measured before anything else is done with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from schema.error import RequestError
from schema.limits import IMAGES_MAX, NODES_MAX, PAGE_SIZE, PAGE_SIZE_MAX


class Limit(NamedTuple):
    """The most that is allowed of something, and what is counted."""

    maximum: int
    counted: str
    reason: str


# No client of ours comes near them: GraphiQL's introspection has 183 tokens, 239 selections and depth 15.
LIMITS = {
    "length": Limit(65_536, "characters in the document", "a long document has to be read before it can be refused"),
    "tokens": Limit(
        1_500,
        "names, values and punctuators in the document",
        "each takes about 20 µs to parse and validate, and half a kilobyte to remember",
    ),
    "selections": Limit(
        1_000,
        "fields, inline fragments and spreads of all operations, each fragment counted wherever it is spread",
        "nested fragments can say in a kilobyte what takes a terabyte to write out",
    ),
    "depth": Limit(15, "fields within fields", "GraphiQL's introspection needs 15, our own pages 7"),
    "aliases": Limit(30, "fields of one operation that are given another name", "an alias makes a field run again"),
    "directives": Limit(50, "directives of one operation", "each is looked at again for each place that it stands in"),
    "rootFields": Limit(20, "fields of one operation's root", "each is a statement of its own, or several"),
    "duplicates": Limit(
        20,
        "times that one field is selected in one place, fragments counted",
        "each must be compared with each other, and needs to be selected once",
    ),
    "cost": Limit(
        10_000,
        "values in the answer of one operation, if every list is as long as it was asked for",
        "each takes 7 to 30 µs to answer, so all of them up to a third of a second",
    ),
}

# Introspection's lists are of the schema's size, which is the same for all: this lets GraphiQL's own query through,
# and few of its kind in one document.
INTROSPECTION_LIST_SIZE = 3


def hold(name: str, value: int) -> None:
    """Refuse a document that exceeds a limit: LIMIT_EXCEEDED, with the limit's name, its maximum, and the value."""
    limit = LIMITS[name]
    if value > limit.maximum:
        value = min(value, 2_147_483_647)  # Of nested fragments it has a hundred digits.
        raise RequestError(
            "LIMIT_EXCEEDED",
            f"The document has {value:,} {limit.counted}, and at most {limit.maximum:,} are allowed: "
            "ask for less, or in several requests.",
            limit=name,
            maximum=limit.maximum,
            value=value,
        )


class _Size(NamedTuple):
    """How long a list is: what the first of the arguments says that says something, or else ``otherwise``."""

    wanted: tuple[ValueNode, ...] = ()
    otherwise: int = 1
    maximum: int = 1  # A field that is asked for more refuses.

    def of(self, variables: Mapping[str, Any]) -> int:
        for value in self.wanted:
            items = _items(value, variables)
            if items is not None:
                return min(items, self.maximum)
        return self.otherwise


ONCE = _Size()


@dataclass(slots=True)
class Cost:
    """How many values an answer holds at most: a number, and parts that are repeated as variables say."""

    constant: int = 0
    parts: list[tuple[_Size, "Cost"]] = field(default_factory=list)

    def of(self, variables: Mapping[str, Any]) -> int:
        """Compute the cost for these variables as they came, right or wrong."""
        return self.constant + sum(size.of(variables) * cost.of(variables) for size, cost in self.parts)

    def add(self, size: _Size, cost: "Cost") -> None:
        """Add what is answered once for each item of a list."""
        if cost.parts or any(isinstance(value, VariableNode) for value in size.wanted):
            self.parts.append((size, cost))
        else:
            self.constant += size.of({}) * cost.constant


def _items(value: ValueNode, variables: Mapping[str, Any]) -> int | None:
    """Return how many items an argument asks for, as a number or as a list; None if the field's default applies."""
    given: Any = None
    match value:
        case VariableNode():
            given = variables.get(value.name.value)
        case IntValueNode():
            given = float(value.value)  # Not int, which refuses 5,000 digits.
        case ListValueNode():
            given = value.values
    if isinstance(given, list | tuple):
        return len(given)
    if isinstance(given, int | float):
        return int(max(given, 0)) if given < PAGE_SIZE_MAX else PAGE_SIZE_MAX
    return None


class OperationCost(NamedTuple):
    """What an operation costs, and the sizes that its variables stand for when they are left out."""

    cost: Cost
    defaults: Mapping[str, int | None]

    def hold(self, variables: Mapping[str, Any]) -> int:
        """Hold the operation to the limit on its cost with these variables, and return that."""
        cost = self.cost.constant
        if self.cost.parts:
            cost = self.cost.of({**self.defaults, **variables})
        hold("cost", cost)
        return cost


def hold_to_limits(schema: GraphQLSchema, document: DocumentNode) -> dict[str | None, OperationCost]:
    """Hold a document to all limits but its cost, which depends on variables; return the cost of each operation.

    Its fragments must be known, used, and free of cycles. Raises RequestError with the code LIMIT_EXCEEDED.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    sizes = _sizes(fragments, operations)
    hold("selections", sum(sizes[id(operation)].selections for operation in operations))
    hold("depth", max((sizes[id(operation)].depth for operation in operations), default=0))
    # Now that all of them together are known to be small when they are written out, they are walked as such.
    costs: dict[str | None, OperationCost] = {}
    for operation in operations:
        walk = _Walk(schema, fragments)
        costs[operation.name.value if operation.name else None] = walk.operation(operation)
        hold("rootFields", walk.root_fields)
        hold("aliases", walk.aliases)
        hold("directives", walk.directives)
        hold("duplicates", max(walk.places.values(), default=0))
    return costs


class _Written(NamedTuple):
    """How large a definition is when each fragment is written out wherever it is spread."""

    selections: int
    depth: int


def _sizes(
    fragments: Mapping[str, FragmentDefinitionNode], operations: list[OperationDefinitionNode]
) -> dict[int | str, _Written]:
    """Measure each fragment, by its name, and each operation, by its node's id: once each, the innermost first."""
    own: dict[int | str, tuple[_Written, list[tuple[str, int]]]] = {
        name: _own_size(fragment.selection_set) for name, fragment in fragments.items()
    }
    own |= {id(operation): _own_size(operation.selection_set) for operation in operations}
    sizes: dict[int | str, _Written] = {}
    for key in TopologicalSorter(
        {key: {name for name, _ in spreads} for key, (_, spreads) in own.items()}
    ).static_order():
        (selections, depth), spreads = own[key]
        for name, place in spreads:
            selections += sizes[name].selections
            depth = max(depth, place + sizes[name].depth)
        sizes[key] = _Written(selections, depth)
    return sizes


def _own_size(selection_set: SelectionSetNode) -> tuple[_Written, list[tuple[str, int]]]:
    """Measure what stands in a definition itself, and list the spreads in it, each with the depth of its place."""
    selections = depth = 0
    spreads = []
    pending = [(selection_set, 0)]
    while pending:
        inside, place = pending.pop()
        for selection in inside.selections:
            selections += 1
            match selection:
                case FragmentSpreadNode():
                    spreads.append((selection.name.value, place))
                case FieldNode() | InlineFragmentNode():
                    below = place + isinstance(selection, FieldNode)
                    depth = max(depth, below)
                    if selection.selection_set:
                        pending.append((selection.selection_set, below))
    return _Written(selections, depth), spreads


class _Walk:
    """Counts what one operation holds."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self.root_fields = 0
        self.aliases = 0
        self.directives = 0
        self.places: Counter[tuple[str, ...]] = Counter()

    def operation(self, operation: OperationDefinitionNode) -> OperationCost:
        defaults = {}
        self.directives += len(operation.directives or ())
        for definition in operation.variable_definitions or ():
            self.directives += len(definition.directives or ())
            if definition.default_value:
                defaults[definition.variable.name.value] = _items(definition.default_value, {})
        cost = self._fields(operation.selection_set, self._schema.get_root_type(operation.operation), (), None)
        self.root_fields = sum(times for place, times in self.places.items() if len(place) == 1)
        return OperationCost(cost, defaults)

    def _fields(
        self,
        selection_set: SelectionSetNode,
        parent: GraphQLNamedType | None,
        place: tuple[str, ...],
        page: _Size | None,
    ) -> Cost:
        """Count the fields of one place in the answer, which is a page of a list if it is given one's size."""
        cost = Cost()
        pending = [(selection_set, parent)]
        while pending:
            inside, inside_type = pending.pop()
            for selection in inside.selections:
                self.directives += len(selection.directives or ())
                match selection:
                    case FieldNode():
                        cost.add(*self._field(selection, inside_type, place, page))
                    case FragmentSpreadNode():
                        fragment = self._fragments[selection.name.value]
                        self.directives += len(fragment.directives or ())
                        pending.append(
                            (fragment.selection_set, self._schema.get_type(fragment.type_condition.name.value))
                        )
                    case InlineFragmentNode():
                        condition = selection.type_condition
                        narrowed = self._schema.get_type(condition.name.value) if condition else inside_type
                        pending.append((selection.selection_set, narrowed))
        return cost

    def _field(
        self, node: FieldNode, parent: GraphQLNamedType | None, place: tuple[str, ...], page: _Size | None
    ) -> tuple[_Size, Cost]:
        """Count a field and all in it: how often it is answered, and what each time costs."""
        place = (*place, (node.alias or node.name).value)
        self.places[place] += 1
        self.aliases += node.alias is not None
        definition = self._schema.get_field(parent, node.name.value) if is_composite_type(parent) else None
        own = 1 if definition is None else _own_cost(definition)
        if not node.selection_set:
            return ONCE, Cost(own)
        if definition is None:  # Validation will report it.
            below, size, page = None, ONCE, None
        else:
            below = get_named_type(definition.type)
            size, page = _size_of_list(node, definition, page)
        cost = self._fields(node.selection_set, below, place, page)
        if own > 1:  # It is read once for the whole list.
            whole = Cost(own)
            whole.add(size, cost)
            return ONCE, whole
        cost.constant += 1
        return size, cost


def _own_cost(definition: GraphQLField) -> int:
    """Return a field's cost without its selections: 1, or more if its definition says that it is large."""
    field = definition.extensions.get("strawberry-definition")
    cost: int = getattr(field, "metadata", {}).get("cost", 1)
    return cost


def _size_of_list(node: FieldNode, definition: GraphQLField, page: _Size | None) -> tuple[_Size, _Size | None]:
    """Return how often a field's selections are resolved, and how often those of the lists directly in it."""
    wanted = {argument.name.value: argument.value for argument in node.arguments or ()}
    if not is_list_type(get_nullable_type(definition.type)):
        if "first" not in definition.args:
            return ONCE, None
        given = tuple(wanted[name] for name in ("first", "last") if name in wanted)
        return ONCE, _Size(given, PAGE_SIZE, PAGE_SIZE_MAX)
    if page:
        return page, None
    if "ids" in definition.args:
        return _Size((wanted["ids"],) if "ids" in wanted else (), 1, NODES_MAX), None
    introspection = get_named_type(definition.type).name.startswith("__")
    return _Size((), INTROSPECTION_LIST_SIZE if introspection else IMAGES_MAX), None
