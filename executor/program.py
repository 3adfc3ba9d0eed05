"""Generates the functions of an operation: one for each selection of fields, with a fast path for each field's value.

A function takes the execution `x`, the object `s` and its place `p`. It answers with a dict, or with an awaitable of
one, if anything in it is awaitable: then all of it is begun before any of it is waited for, in the order and with the
tasks of graphql-core, so that loaders gather, and errors come, as they do there.
"""

from dataclasses import replace
from inspect import iscoroutinefunction
from keyword import iskeyword
from typing import Any

import strawberry
from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLString,
    GraphQLUnionType,
    OperationType,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import GroupedFieldSet, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.execution import optimized_is_awaitable
from strawberry.schema import Schema
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.scalar import identity

from executor import execution
from executor.columns import PLAIN, Functions, Outline, is_plain
from executor.execution import ObjectFunction, Operation, Position, Selection
from executor.inputs import argument_values, converted_arguments

# Each takes 2 KB, and some 0.1 ms to generate.
FIELDS_MAX = 300

# When a value is what it is serialized to.
AS_IT_IS: dict[Any, str] = {
    GraphQLString: "type(v)is str",
    GraphQLID: "type(v)is str",
    GraphQLInt: "type(v)is int and-2147483648<=v<=2147483647",
    GraphQLFloat: "type(v)is float and v-v==0",
    GraphQLBoolean: "type(v)is bool",
}
CALLED = {
    "E": Exception,
    "plain": PLAIN,
    "cast": TYPE_CAST_ATTRIBUTE,
    "aw": optimized_is_awaitable,
    "info": execution.FieldInfo,
    **{name: getattr(execution, name) for name in ("abandon", "fail", "items", "later", "odd", "odd_awaited", "wait")},
}
# The resolvers that Strawberry makes of a field without and with a function of its own, and of a subscription.
RESOLVERS = {
    f"GraphQLCoreConverter.{name}"
    for name in (
        "from_resolver.<locals>._get_basic_result",
        "from_resolver.<locals>._resolver",
        "from_resolver.<locals>._async_resolver",
        "from_field.<locals>.<lambda>",
    )
}
UNION_RESOLVER = "StrawberryUnion.get_type_resolver.<locals>._resolve_union_type"
DEFINITION = "strawberry-definition"
# Arguments of these names Strawberry confuses with its own.
NAMES_TAKEN = {"info", "_source"}


class NotCovered(Exception):  # noqa: N818 - It is no error: it says why an operation is left to graphql-core.
    """An operation that is left to graphql-core: nothing of it has been resolved."""


class Program:
    """The functions of an operation, for the values that its variables in @skip and @include have."""

    def __init__(self, operation: Operation, variables: VariableValues) -> None:
        self._operation = operation
        self._variables = variables
        self._schema: Schema = _strawberry_schema(operation)
        self._lines: list[str] = []
        self._names: dict[str, Any] = dict(CALLED)
        self._objects: dict[tuple[str, tuple[int, ...]], tuple[str, Outline | None]] = {}
        self._filled: list[tuple[dict[Any, Any], Any, str]] = []
        self.fields = 0  # how many have been generated

    def function(self) -> ObjectFunction:
        """Generate the function that answers the operation's root; raise NotCovered if it cannot be."""
        operation = self._operation
        kind = operation.definition.operation
        root = operation.schema.get_root_type(kind)
        if root is None or operation.definition.directives:
            raise NotCovered("operation")
        fields = collect_fields(
            operation.schema, operation.fragment_details, self._variables, root, operation.definition
        ).grouped_field_set
        name = self._serial(root, fields) if kind is OperationType.MUTATION else self._parallel(root, fields)
        code = compile("\n".join(self._lines), "<GraphQL operation>", "exec")
        exec(code, self._names)  # noqa: S102 - All names in it are GraphQL's or Python's, and values go beside it.
        for table, key, function in self._filled:
            table[key] = self._names[function]
        answering: ObjectFunction = self._names[name]
        return answering

    def _bind(self, value: object) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def _define(self, head: str, body: list[str]) -> str:
        name = self._bind(None)
        self._lines += [head.format(name), *_indented(body)]
        return name

    def _serial(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> str:
        body = [line for key, details in fields.items() for line in self._field(parent, key, details, serial=True)]
        return self._define("async def {}(x,s,p):", ["r={}", *body, "return r"])

    def _parallel(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> str:
        if len(fields) == 1 and self._is_first_async(parent, fields):
            return self._serial(parent, fields)  # which is the same for one field, with less to it
        body = [line for key, details in fields.items() for line in self._field(parent, key, details, serial=False)]
        end = ["except E:", " abandon(x,r,w)", " raise", "return wait(r,w)if w else r"]
        return self._define("def {}(x,s,p):", ["r={};w=()", "try:", " pass", *_indented(body), *end])

    def _is_first_async(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> bool:
        ((first, *_), *_) = fields.values()
        definition = self._operation.schema.get_field(parent, first.node.name.value)
        field = definition and definition.extensions.get(DEFINITION)
        return isinstance(field, StrawberryField) and _is_async(field)

    def _field(self, parent: GraphQLObjectType, key: str, details: Any, *, serial: bool) -> list[str]:
        """Write how a field's value `v` gets into the answer `r`, and its key into `w` if it is awaitable."""
        nodes = [each.node for each in details]
        name = nodes[0].name.value
        if name == "__typename":
            return [f"r[{key!r}]={parent.name!r}"]
        definition = self._operation.schema.get_field(parent, name)
        if definition is None or name.startswith("__"):
            raise NotCovered("introspection")
        self.fields += 1
        if self.fields > FIELDS_MAX:
            raise NotCovered("size")
        field = _strawberry_field(definition)
        position = Position(key, parent, definition, field, definition.type, Selection(details), nodes)
        at = self._bind(position)
        failed, put = f"except E as e:v=fail(x,e,{at},p)", f"r[{key!r}]=v"
        arguments = [f"k={self._bind(argument_values(definition, nodes[0]))}(x)"] if definition.args else []
        value = self._value(field, at)
        if serial:
            resolved = [f"v=await {value}"] if _is_async(field) else [f"v={value}", "if aw(v):v=await v"]
            body = [*arguments, *resolved, *self._completed(position, at, awaited=True)]
            return ["try:", *_indented(body), failed, put]
        if _is_async(field):
            body = [f"v=await {value}", *self._completed(position, at, awaited=True)]
            begun = self._define("async def {}(x,s,p,k):", ["try:", *_indented(body), failed, "return v"])
            begin = f"v={begun}(x,s,p,{'k' if arguments else 'None'});w+=({key!r},)"
            return ["try:", *_indented([*arguments, begin]), failed, put] if arguments else [begin, put]
        body = [*arguments, f"v={value}", *self._completed(position, at, awaited=False)]
        return ["try:", *_indented(body), failed, put]

    def _value(self, field: StrawberryField, at: str) -> str:
        """Write what resolves a field, with the arguments `k`."""
        if field.is_subscription:
            return "s"
        resolver = field.base_resolver
        if resolver is None:
            if not field.python_name.isidentifier() or iskeyword(field.python_name):
                raise NotCovered("resolver")
            return f"s.{field.python_name}"
        if type(resolver) is not StrawberryResolver or field.is_async is not iscoroutinefunction(resolver.wrapped_func):
            raise NotCovered("resolver")
        if NAMES_TAKEN.intersection(argument.python_name for argument in field.arguments):
            raise NotCovered("resolver")
        info = f"info(x,{at},p)"
        given = {}
        for parameter, value in (
            (resolver.parent_parameter, "s"),
            (resolver.root_parameter, "s"),
            (resolver.info_parameter, "i" if field.arguments else info),
        ):
            if parameter is not None:
                given[parameter.name] = f"{parameter.name}={value}"
        parts = ["s"] if resolver.self_parameter else []
        if field.arguments:
            parts.append(f"**{self._bind(converted_arguments(field, self._schema))}(k,i:={info})")
        return f"{self._bind(resolver.wrapped_func)}({','.join([*parts, *given.values()])})"

    def _completed(self, position: Position, at: str, *, awaited: bool) -> list[str]:
        """Write how `v` becomes what the answer holds, and what sees to it if it is not as its type promises."""
        odd = f"v=await odd_awaited(x,v,{at},p)" if awaited else f"v,w=odd(x,v,{at},p,w)"
        later = "v=await v" if awaited else f"v=later(x,v,{at},p);w+=({position.key!r},)"
        otherwise = f"else:{odd}" if is_non_null_type(position.type) else f"elif v is not None:{odd}"
        type_: Any = get_nullable_type(position.type)
        if is_leaf_type(type_):
            return [*self._leaf(type_), otherwise]
        if not is_list_type(type_):
            find = self._bind(self._table(position, type_).__getitem__)
            place = f"(p,{position.key!r},{position.parent.name!r})"
            found = [
                "if f is not None and not hasattr(v,cast):",
                f" v=f(x,v,{place})",
                f" if type(v)is not dict:{later}",
            ]
            return [f"f={find}(type(v))", *found, otherwise]
        if is_leaf_type(get_nullable_type(type_.of_type)):
            return ["if False:pass", otherwise]
        item = self._bind(replace(position, key=None, type=type_.of_type))
        table = self._table(position, get_nullable_type(type_.of_type))
        if not is_non_null_type(type_.of_type):
            table[type(None)] = execution.nothing
        completed = [f" v=items(x,v,{at},{item},{self._bind(table)},p)", f" if type(v)is not list:{later}"]
        return ["if type(v)is list:", *completed, otherwise]

    def _leaf(self, type_: Any) -> list[str]:
        """Write how most values of a scalar or enum are serialized; the rest are left to an `else`."""
        serialize = type_.coerce_output_value
        if serialize is identity:  # as Strawberry has it for a scalar that says nothing of it
            return ["if type(v)in plain:pass"]
        as_it_is = AS_IT_IS[GraphQLString] if serialize is str else AS_IT_IS.get(type_)
        if as_it_is:
            return [f"if {as_it_is}:pass"]
        class_ = getattr(type_, "wrapped_cls", None)
        if class_ is None:
            return [f"u={self._bind(serialize)}(v)if type(v)in plain else None", "if type(u)in plain:v=u"]
        if not is_plain(class_):
            return ["if False:pass"]
        names = self._bind({member.name: serialize(member) for member in class_}.get)
        return [f"u={names}(v._name_)if type(v)is {self._bind(class_)} else None", "if u is not None:v=u"]

    def _table(self, position: Position, declared: Any) -> Functions:
        """Compile functions for every type that an object may have, by Python class."""
        table = Functions()
        if is_list_type(declared):
            self._table(position, get_nullable_type(declared.of_type))
        elif not is_leaf_type(declared):
            schema = self._operation.schema
            types = schema.get_possible_types(declared) if is_abstract_type(declared) else [declared]
            for type_ in types:
                function, outline = self._object(type_, position.selection)
                self._filled.append((position.selection.functions, type_.name, function))
                class_ = _class(declared, type_, schema)
                if class_ is not None and is_plain(class_):
                    self._filled.append((table, class_, function))
                    table.outlines[class_] = outline
        return table

    def _object(self, type_: GraphQLObjectType, selection: Selection) -> tuple[str, Outline | None]:
        key = (type_.name, tuple(id(each.node) for each in selection))
        if key not in self._objects:
            operation = self._operation
            fields = collect_subfields(
                operation.schema,
                operation.fragment_details,
                self._variables,
                operation.definition,
                type_,
                selection,
            ).grouped_field_set
            self._objects[key] = self._parallel(type_, fields), self._outline(type_, fields)
        return self._objects[key]

    def _outline(self, parent: GraphQLObjectType, fields: GroupedFieldSet) -> Outline | None:
        """Outline the answer for an object all of whose selected fields are scalars or enums without resolvers."""
        outline: Outline = []
        for key, (first, *_) in fields.items():
            name = first.node.name.value
            if name == "__typename":
                outline.append((key, None, parent.name))
                continue
            definition = self._operation.schema.get_field(parent, name)
            if definition is None or not is_leaf_type(get_nullable_type(definition.type)):
                return None
            field = _strawberry_field(definition)
            if field.base_resolver or field.is_subscription:
                return None
            outline.append((key, field.python_name, definition.type))
        return outline


def _indented(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _strawberry_schema(operation: Operation) -> Schema:
    """Find Strawberry's schema of an operation; raise NotCovered for one that changes how fields are resolved."""
    schema = getattr(operation.schema, "_strawberry_schema", None)
    if not isinstance(schema, Schema):
        raise NotCovered("schema")
    if (
        schema.directives
        or schema.config.enable_experimental_incremental_execution
        or schema.config.info_class is not strawberry.Info
        or schema.execution_context_class is not StrawberryGraphQLCoreExecutionContext
        or schema.schema_converter.exception_handlers
        or any(extension._implements_resolve() for extension in schema.get_extensions())  # noqa: SLF001 - as Strawberry
        or any(fragment.variable_definitions for fragment in operation.fragments.values())
    ):
        raise NotCovered("schema")
    return schema


def _strawberry_field(definition: GraphQLField) -> StrawberryField:
    field = definition.extensions.get(DEFINITION)
    if (
        type(field) is not StrawberryField
        or field.extensions
        or field.default_resolver is not getattr
        or getattr(definition.resolve, "__qualname__", None) not in RESOLVERS
    ):
        raise NotCovered("field")
    return field


def _is_async(field: StrawberryField) -> bool:
    """Return whether a field's value must be awaited; a subscription's has arrived with its event."""
    return field.is_async and not field.is_subscription


def _class(declared: GraphQLNamedType, type_: GraphQLObjectType, schema: Any) -> type | None:
    """Find the Python class whose instances are of a type, without a look at them, where a field declares another."""
    definition = type_.extensions.get(DEFINITION)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_type_of:
        return None
    if declared is type_:
        return (definition.concrete_of or definition).origin
    if definition.concrete_of or definition.origin.__strawberry_definition__ is not definition:
        return None
    if isinstance(declared, GraphQLUnionType):
        return definition.origin if getattr(declared.resolve_type, "__qualname__", None) == UNION_RESOLVER else None
    interface: Any = declared.extensions.get(DEFINITION)
    resolved = schema.get_type(definition.name) is type_ and not interface.resolve_type
    return definition.origin if resolved and issubclass(definition.origin, interface.origin) else None
