"""A plain model of the limits on documents: expand every fragment where it is spread, then count."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    value_from_ast_untyped,
)

from schema.limits import LARGE_FIELD_COST
from tests.documents import SCHEMA

Place = tuple[str, ...]
LARGE_FIELDS = {("VideoData", name) for name in ("script", "caption", "captionJson", "config", "images")}


class WrittenOut:
    """The counts of one operation with these variables."""

    def __init__(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = {
            node.variable.name.value: value_from_ast_untyped(node.default_value)
            for node in operation.variable_definitions or ()
            if node.default_value
        } | dict(variables)
        self._places: Counter[Place] = Counter()
        self.counted = Counter(directives=len(operation.directives or ()), aliases=0)
        cost = self._inside(operation.selection_set, SCHEMA.get_root_type(operation.operation), (), None)
        self.counted["cost"] = cost
        self.counted["rootFields"] = sum(times for place, times in self._places.items() if len(place) == 1)
        self.counted["duplicates"] = max(self._places.values())

    def _inside(self, inside: SelectionSetNode, on: GraphQLNamedType | None, place: Place, page: int | None) -> int:
        return sum(self._selection(each, on, place, page) for each in inside.selections)

    def _selection(self, node: SelectionNode, on: GraphQLNamedType | None, place: Place, page: int | None) -> int:
        """Count a selection, and return its cost."""
        self.counted["selections"] += 1
        self.counted["directives"] += len(node.directives or ())
        match node:
            case FieldNode():
                return self._field(node, on, (*place, (node.alias or node.name).value), page)
            case FragmentSpreadNode():
                fragment = self._fragments[node.name.value]
                self.counted["directives"] += len(fragment.directives or ())
                inside = SCHEMA.type_map[fragment.type_condition.name.value]
                return self._inside(fragment.selection_set, inside, place, page)
            case InlineFragmentNode(type_condition=None):
                return self._inside(node.selection_set, on, place, page)
            case InlineFragmentNode():
                assert node.type_condition
                return self._inside(node.selection_set, SCHEMA.type_map[node.type_condition.name.value], place, page)
        raise AssertionError(node)

    def _field(self, node: FieldNode, on: GraphQLNamedType | None, place: Place, page: int | None) -> int:
        self._places[place] += 1
        self.counted["aliases"] += bool(node.alias)
        self.counted["depth"] = max(self.counted["depth"], len(place))
        own = LARGE_FIELD_COST if on and (on.name, node.name.value) in LARGE_FIELDS else 1
        if not node.selection_set:
            return own
        assert is_composite_type(on)
        field = SCHEMA.get_field(on, node.name.value)
        assert field
        arguments = {each.name.value: each.value for each in node.arguments or ()}
        given = {name: value_from_ast_untyped(value, self._variables) for name, value in arguments.items()}
        times, below = 1, None
        if not is_list_type(get_nullable_type(field.type)):
            if "first" in field.args:
                asked = [given[name] for name in ("first", "last") if isinstance(given.get(name), int)]
                below = min(max(asked[0], 0), 100) if asked else 20
        elif page is not None:
            times = page
        elif "ids" in field.args:
            times = len(given["ids"]) if isinstance(given["ids"], list) else 1
        else:
            times = 3 if get_named_type(field.type).name.startswith("__") else 100
        inside = self._inside(node.selection_set, get_named_type(field.type), place, below)
        return own + times * inside if own > 1 else times * (1 + inside)
