"""What generated functions call: the state of one execution, and whatever is not as its types promise.

Errors and odd values are graphql-core's business: its executor is made when the first one turns up. What that executor
selects below such a value is again up to the generated functions, so nothing is resolved twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, gather_with_cancel
from strawberry.execution import optimized_is_awaitable as is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.field import StrawberryField

if TYPE_CHECKING:
    from executor.columns import Functions

# Where a value stands in the response, as in graphql-core's Path, but cheaper to make: what it stands in, its key or
# index, and the type that has the field.
Place = tuple[Any, str | int, str | None]
# A generated function: it makes the answer for an object at a place.
ObjectFunction = Callable[["Execution", Any, Place | None], Any]
# The same for all objects of a list, of which nothing is awaitable.
ListFunction = Callable[[Sequence[Any]], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a validated document."""

    schema: GraphQLSchema
    definition: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]

    @property
    def fragment_details(self) -> dict[str, FragmentDetails]:
        return {name: FragmentDetails(definition) for name, definition in self.fragments.items()}


class Selection(list[FieldDetails]):
    """The nodes that select a field, with the functions for what is selected within it, by the type's name."""

    def __init__(self, details: list[FieldDetails]) -> None:
        super().__init__(details)
        self.functions: dict[str, ObjectFunction] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """A field of a selection; or the items of its list, which have no key of their own."""

    key: str | None
    parent: GraphQLObjectType
    definition: GraphQLField
    field: StrawberryField
    type: GraphQLOutputType
    selection: Selection
    nodes: list[FieldNode]

    def path(self, place: Any) -> Path:
        """Locate the error for graphql-core: a field by its object's path, an item by its own."""
        if self.key is None:
            return _path(place)
        return Path(place and _path(place), self.key, self.parent.name)


class Execution:
    """One execution of an operation."""

    __slots__ = ("_core", "context", "hide_suggestions", "operation", "root", "variables")

    def __init__(
        self, operation: Operation, root: Any, context: Any, variables: VariableValues, *, hide_suggestions: bool
    ) -> None:
        self.operation = operation
        self.root = root
        self.context = context
        self.variables = variables
        self.hide_suggestions = hide_suggestions
        self._core: _Core | None = None

    @property
    def core(self) -> "_Core":
        """graphql-core's executor of this execution."""
        if self._core is None:
            operation = self.operation
            self._core = _Core(
                operation.schema,
                operation.fragments,
                operation.fragment_details,
                self.root,
                self.context,
                operation.definition,
                self.variables,
                default_field_resolver,
                default_type_resolver,
                default_field_resolver,
                is_awaitable=is_awaitable,
                hide_suggestions=self.hide_suggestions,
            )
            self._core.execution = self
        return self._core

    @property
    def errors(self) -> list[GraphQLError] | None:
        """All errors so far, in the order in which they came; None if there is none."""
        return None if self._core is None else self._core.collected_errors.errors or None


class _Core(StrawberryGraphQLCoreExecutionContext):
    execution: Execution

    def collect_and_execute_subfields(
        self, return_type: Any, field_details_list: Any, path: Path, result: Any, position_context: Any
    ) -> Any:
        del position_context
        return field_details_list.functions[return_type.name](self.execution, result, path)


class FieldInfo(strawberry.Info[Any, Any]):
    """Strawberry's Info; what few resolvers ask for is made when they do."""

    __slots__ = ("_execution", "_place", "_position", "context", "field_name")

    if not TYPE_CHECKING:  # Strawberry has them as properties.

        def __init__(self, execution: Execution, position: Position, place: Place | None) -> None:
            self._field = position.field
            self._execution = execution
            self._position = position
            self._place = place
            self.context = execution.context
            self.field_name = position.nodes[0].name.value

        @property
        def operation(self) -> OperationDefinitionNode:
            return self._execution.operation.definition

        @property
        def _raw_info(self) -> Any:
            return _info(self._execution, self._position, self._position.path(self._place))


def fail(x: Execution, error: Exception, position: Position, place: Place | None) -> Any:
    """Record an error and return null; raise it if the type does not allow null."""
    x.core.handle_field_error(error, position.type, position.selection, position.path(place))


def complete(x: Execution, value: Any, position: Position, place: Place | None) -> Any:
    """Complete any value that is not awaitable; the answer may be, and then raises its errors."""
    path = position.path(place)
    info = _info(x, position, path)
    return x.core.complete_value(position.type, position.selection, info, path, value, None)


async def odd_awaited(x: Execution, value: Any, position: Position, place: Place | None) -> Any:
    """Complete a field's value that is not as its type promises."""
    completed = complete(x, value, position, place)
    return await completed if is_awaitable(completed) else completed


def odd(
    x: Execution, value: Any, position: Position, place: Place | None, waiting: tuple[str | None, ...]
) -> tuple[Any, tuple[str | None, ...]]:
    """Complete a field's value that is not as its type promises, or begin to: then it is one more to wait for."""
    completed: Any
    if is_awaitable(value):
        path = position.path(place)
        info = _info(x, position, path)
        completed = x.core.complete_awaitable_value(position.type, position.selection, info, path, value, None)
    else:
        completed = complete(x, value, position, place)
        if not is_awaitable(completed):
            return completed, waiting
        completed = later(x, completed, position, place)
    return completed, (*waiting, position.key)


async def later(x: Execution, completed: Awaitable[Any], position: Position, place: Place | None) -> Any:
    """Wait for what is being completed, and note its errors."""
    try:
        return await completed
    except Exception as error:  # noqa: BLE001 - as graphql-core
        return fail(x, error, position, place)


def items(
    x: Execution, values: list[Any], position: Position, item: Position, table: "Functions", place: Place | None
) -> Any:
    """Complete a list of objects, each by its own function; leave any other list to graphql-core."""
    classes = set(map(type, values))
    if len(classes) == 1 and classes <= table.lists.keys():
        try:
            return table.lists[type(values[0])](values)
        except Exception:  # noqa: BLE001, S110 - The functions below make the right errors of it.
            pass
    functions: list[Any] = [None if hasattr(value, TYPE_CAST_ATTRIBUTE) else table[type(value)] for value in values]
    if None in functions:
        return complete(x, values, position, place)
    own_place = (place, position.key, position.parent.name)
    completed: list[Any] = []
    waiting: list[int] = []
    try:
        for index, (value, function) in enumerate(zip(values, functions, strict=True)):
            item_place = (own_place, index, None)
            try:
                done = function(x, value, item_place)
                if done is not None and type(done) is not dict:
                    done = later(x, done, item, item_place)
                    waiting.append(index)
            except Exception as error:  # noqa: BLE001 - as graphql-core
                done = fail(x, error, item, item_place)
            completed.append(done)
    except Exception:
        abandon(x, completed, waiting)
        raise
    return wait(completed, waiting) if waiting else completed


def nothing(*_: object) -> None:
    """Complete an item of a list that is null, where it may be."""


def abandon(x: Execution, answer: Any, waiting: Sequence[Any]) -> None:
    """Let those parts of an answer finish that were begun before an error, as graphql-core does."""
    if waiting:
        x.core.settle_in_background([answer[key] for key in waiting])


async def wait(answer: Any, waiting: Sequence[Any]) -> Any:
    """Wait for those parts of an answer that are awaitable, all at once."""
    if len(waiting) == 1:
        answer[waiting[0]] = await answer[waiting[0]]
    else:
        done = await gather_with_cancel(*[answer[key] for key in waiting])
        for key, value in zip(waiting, done, strict=True):
            answer[key] = value
    return answer


def _info(x: Execution, position: Position, path: Path) -> Any:
    return x.core.build_resolve_info(position.definition, position.nodes, position.parent, path)


def _path(place: Place) -> Path:
    above, key, typename = place
    return Path(above and _path(above), key, typename)
