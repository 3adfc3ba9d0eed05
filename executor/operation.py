"""One door: a schema, a validated document and the name of an operation become a function that answers it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    SelectionSetNode,
    VariableNode,
    get_operation_ast,
)
from graphql.execution.values import VariableValues
from strawberry.types.graphql import OperationType

from executor.execution import Execution, ObjectFunction, Operation
from executor.inputs import Variables
from executor.program import NotCovered, Program

# For each set of values of the variables in @skip and @include there are functions of their own.
SWITCHES_MAX = 4


class CompiledOperation:
    """An operation of a validated document, with functions that are generated when they are first needed.

    Calling it answers as `graphql.execute` does for a Strawberry schema. It raises NotCovered, before anything is
    resolved, where that has to be asked instead.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        name: str | None = None,
        generated: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Compile the operation of this name; ``generated`` gets each function's count of fields, about 2 KB each."""
        definition = get_operation_ast(document, name)
        assert definition is not None, name  # noqa: S101 - It is an operation of this document.
        fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        self.kind = OperationType(definition.operation.value)
        self._generated = generated
        self._operation = Operation(schema, definition, fragments)
        self._variables = Variables(schema, definition.variable_definitions or ())
        defined = {each.variable.name.value for each in definition.variable_definitions or ()}
        selections = [definition.selection_set, *(each.selection_set for each in fragments.values())]
        self._switches = sorted(defined.intersection(name for each in selections for name in _switches(each)))
        self._functions: dict[tuple[bool | None, ...], ObjectFunction | NotCovered] = {}

    def __call__(
        self, context: Any, variables: dict[str, Any] | None = None, root: Any = None, *, hide_suggestions: bool = False
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Answer with these variables; the answer is awaitable if any part of it is."""
        values = self._variables.coerce(variables or {}, hide_suggestions=hide_suggestions)
        if isinstance(values, list):
            return ExecutionResult(None, values)
        return self.answer(context, values, root, hide_suggestions=hide_suggestions)

    def variable_errors(self, variables: dict[str, Any], *, hide_suggestions: bool = False) -> list[GraphQLError]:
        """Return errors in the variables, in bounded time; without errors, graphql-core can coerce them."""
        values = self._variables.coerce(variables, hide_suggestions=hide_suggestions)
        return values if isinstance(values, list) else []

    def answer(
        self, context: Any, variables: VariableValues, root: Any = None, *, hide_suggestions: bool = False
    ) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Answer with variables that are coerced: for each event of a subscription, which is the root."""
        function = self._function(variables)
        x = Execution(self._operation, root, context, variables, hide_suggestions=hide_suggestions)
        try:
            data = function(x, root, None)
            if type(data) is not dict:
                return _awaited(x, data)
        except GraphQLError as error:
            x.core.collected_errors.add(error, None)
            data = None
        return ExecutionResult(data, x.errors)

    def _function(self, variables: VariableValues) -> ObjectFunction:
        switched = tuple([variables.coerced.get(name) for name in self._switches]) if self._switches else ()
        function = self._functions.get(switched)
        if function is None:
            function = self._functions[switched] = self._compiled(switched, variables)
        if isinstance(function, NotCovered):
            raise NotCovered(*function.args)
        return function

    def _compiled(self, switched: tuple[bool | None, ...], variables: VariableValues) -> ObjectFunction | NotCovered:
        try:
            if len(switched) > SWITCHES_MAX:
                raise NotCovered("switches")  # noqa: TRY301 - as those that the program raises
            if None in switched:
                raise NotCovered("a switch without a value")  # noqa: TRY301 - as above
            program = Program(self._operation, variables)
            function = program.function()
        except NotCovered as reason:
            return reason.with_traceback(None)
        except RecursionError:
            return NotCovered("depth")
        self._generated(program.fields)
        return function


async def _awaited(x: Execution, answer: Awaitable[dict[str, Any]]) -> ExecutionResult:
    try:
        data = await answer
    except GraphQLError as error:
        x.core.collected_errors.add(error, None)
        return ExecutionResult(None, x.errors)
    return ExecutionResult(data, x.errors)


def _switches(selections: SelectionSetNode) -> Iterator[str]:
    """Return the names of variables that decide what is selected."""
    for selection in selections.selections:
        for directive in selection.directives or ():
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode):
                    yield argument.value.name.value
        within = getattr(selection, "selection_set", None)
        if within is not None:
            yield from _switches(within)
