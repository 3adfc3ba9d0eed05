"""What the executor is compared with: graphql-core and Strawberry, and awaitable values."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationType,
    execute,
    execute_subscription_event,
    get_operation_ast,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.utils.await_maybe import await_maybe


async def by_core(
    schema: GraphQLSchema, document: DocumentNode, context: Any, variables: dict[str, Any], root: Any
) -> ExecutionResult:
    """Execute like Strawberry; execute a subscription's events like graphql-core."""
    is_awaitable: Any = optimized_is_awaitable
    definition = get_operation_ast(document)
    assert definition is not None
    if definition.operation is not OperationType.SUBSCRIPTION:
        executed = execute(
            schema,
            document,
            root,
            context,
            variables,
            executor_class=StrawberryGraphQLCoreExecutionContext,
            is_awaitable=is_awaitable,
        )
        return await await_maybe(executed)
    executor = StrawberryGraphQLCoreExecutionContext.build(
        schema, document, None, context, variables, is_awaitable=is_awaitable
    )
    if isinstance(executor, list):
        return ExecutionResult(None, executor)
    return await await_maybe(execute_subscription_event(executor.build_per_event_executor(root)))


class Later:
    """An awaitable that can be awaited repeatedly."""

    def __init__(self, ticks: int, value: Any) -> None:
        self.ticks = ticks
        self.value = value

    def __repr__(self) -> str:
        return "Later"

    def __await__(self) -> Generator[Any, Any, Any]:
        for _ in range(self.ticks):
            yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Several:
    """An async iterable."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "Several"

    async def __aiter__(self) -> AsyncIterator[Any]:
        for value in self.values:
            await asyncio.sleep(0)
            if isinstance(value, Exception):
                raise value
            yield value


def shown(result: ExecutionResult) -> tuple[str, list[tuple[Any, ...]]]:
    """Return everything of a result that must be equal, in its order."""
    return repr(result.data), [_shown(error) for error in result.errors or []]


def _shown(error: GraphQLError) -> tuple[Any, ...]:
    cause = error.original_error
    return error.message, error.path, error.locations, error.extensions, type(cause), str(cause)
