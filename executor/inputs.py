"""What a client sends, as resolvers take it: graphql-core's coercion and Strawberry's conversion, prepared.

Expected input takes a fast path. Anything else is left to graphql-core or Strawberry, which also say what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLSchema,
    GraphQLString,
    Undefined,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    get_argument_values,
    get_nullable_type,
    get_variable_values,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    is_specified_scalar_type,
)
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import print_path_list
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal, coerce_input_value
from graphql.utilities.validate_input_value import validate_input_value
from strawberry import UNSET
from strawberry.relay.types import GlobalID
from strawberry.scalars import is_scalar
from strawberry.schema import Schema
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryOptional, get_object_definition
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

if TYPE_CHECKING:
    from executor.execution import Execution

VARIABLE_ERRORS_MAX = 5  # Each quotes the value around it, so that more of them would cost more than they help.
VARIABLE_ITEMS_MAX = 5_000  # An item takes up to 10 µs to coerce.
# Suggestions help people who write operations by hand; computing them takes longer the larger the input is.
CHARACTERS_WITH_SUGGESTIONS = 10_000
UNCHANGEABLE = {str, int, float, bool}
DEEP = 50  # What may be nested deeper is graphql-core's to measure.

Convert = Callable[[Any], Any]
# A variable: its name, signature and definition, and what coerces a value for it.
_Expected = tuple[str, Any, VariableDefinitionNode, Convert]


class _Unusual(Exception):  # noqa: N818 - It is no error: it says that graphql-core or Strawberry has to be asked.
    pass


class _TooManyItemsError(Exception):
    pass


class _Room:
    """How many more list items may be coerced."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items = VARIABLE_ITEMS_MAX

    def take(self, items: int) -> None:
        self.items -= items
        if self.items < 0:
            raise _TooManyItemsError


class Variables:
    """The variables of an operation."""

    def __init__(self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode]) -> None:
        self._schema = schema
        self._definitions = definitions
        self._room = _Room()
        self._expected: list[_Expected] | None = []
        try:
            for node in definitions:
                signature = get_variable_signature(schema, node)
                if isinstance(signature, GraphQLError):
                    raise _Unusual  # noqa: TRY301 - as deep below
                coerce = _coercion(signature.type, (), self._room)
                self._expected.append((signature.name, signature, node, coerce))
        except (_Unusual, TypeError):  # graphql-core has TypeError for a default that is wrong.
            self._expected = None

    def coerce(self, inputs: dict[str, Any], *, hide_suggestions: bool) -> VariableValues | list[GraphQLError]:
        """Coerce the variables, or return the first errors.

        The time that this takes is bounded by VARIABLE_ITEMS_MAX and VARIABLE_ERRORS_MAX, whatever the inputs are.
        """
        self._room.items = VARIABLE_ITEMS_MAX
        try:
            if self._expected is not None:
                return self._coerced(self._expected, inputs, hide_suggestions)
            self._count_items(inputs)
        except _TooManyItemsError:
            return [GraphQLError(f"The lists in the variables have more than {VARIABLE_ITEMS_MAX:,} items together.")]
        hide_suggestions = hide_suggestions or _is_large(inputs)
        return get_variable_values(self._schema, self._definitions, inputs, VARIABLE_ERRORS_MAX, hide_suggestions)

    def _count_items(self, inputs: dict[str, Any]) -> None:
        """Count the items of the lists that graphql-core would coerce."""
        pending: list[tuple[Any, Any]] = []
        for node in self._definitions:
            signature = get_variable_signature(self._schema, node)
            if not isinstance(signature, GraphQLError):
                pending.append((inputs.get(signature.name), signature.type))
        while pending:
            value, declared = pending.pop()
            type_: Any = get_nullable_type(declared)
            if is_list_type(type_) and isinstance(value, list):
                self._room.take(len(value))
                pending.extend([(item, type_.of_type) for item in value])
            elif is_list_type(type_):
                pending.append((value, type_.of_type))
            elif is_input_object_type(type_) and isinstance(value, dict):
                pending.extend([(value[name], field.type) for name, field in type_.fields.items() if name in value])

    def _coerced(
        self, expected: list[_Expected], inputs: dict[str, Any], hide_suggestions: bool
    ) -> VariableValues | list[GraphQLError]:
        values = VariableValues({}, {})
        wrong: list[tuple[_Expected, Any]] = []
        for variable in expected:
            name, signature, node, coerce = variable
            given = inputs.get(name, Undefined)
            values.sources[name] = VariableValueSource(signature, given)
            if given is not Undefined:
                value = coerce(given)
            elif node.default_value is not None:
                value = coerce_input_literal(node.default_value, signature.type)
            elif is_non_null_type(signature.type):
                value = Undefined
            else:
                continue
            if value is Undefined:
                wrong.append((variable, given))
            values.coerced[name] = value
        if not wrong:
            return values
        self._room.items = VARIABLE_ITEMS_MAX
        self._count_items(inputs)  # graphql-core looks at what follows the first fault, too.
        return _errors(wrong, hide_suggestions=hide_suggestions or _is_large(inputs))


def _errors(wrong: list[tuple[_Expected, Any]], *, hide_suggestions: bool) -> list[GraphQLError]:
    """Return graphql-core's errors about these variables, up to its maximum."""
    errors: list[GraphQLError] = []
    try:
        for (name, signature, node, _), given in wrong:
            note = partial(_note, errors, name, node)
            validate_input_value(given, signature.type, note, hide_suggestions)
    except GraphQLError as error:
        errors.append(error)
    assert errors  # noqa: S101 - graphql-core coerces nothing that it finds wrong, and the other way round
    return errors


def _note(
    errors: list[GraphQLError], name: str, node: VariableDefinitionNode, error: GraphQLError, path: list[str | int]
) -> None:
    if len(errors) >= VARIABLE_ERRORS_MAX:
        raise GraphQLError("Too many errors processing variables, error limit reached. Execution aborted.")
    message = f"Variable '${name}' has invalid value{print_path_list(path)}: {error.message}"
    errors.append(GraphQLError(message, node, original_error=error))


def _is_large(inputs: dict[str, Any]) -> bool:
    """Return whether a value is too large to compute suggestions for."""
    left = CHARACTERS_WITH_SUGGESTIONS
    pending: list[Any] = [inputs]
    while pending:
        value = pending.pop()
        left -= len(value) if isinstance(value, str | list | dict) else 1
        if left < 0:
            return True
        if isinstance(value, dict):
            pending.extend(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def _coercion(declared: GraphQLInputType, above: tuple[GraphQLInputType, ...], room: _Room) -> Convert:
    """Prepare graphql-core's `coerce_input_value` for a type."""
    if len(above) > DEEP:
        raise _Unusual
    null = Undefined if is_non_null_type(declared) else None
    type_: Any = get_nullable_type(declared)
    if is_leaf_type(type_):
        coerce = _leaf_coercion(type_)
        if type_ in {GraphQLString, GraphQLID}:  # which take text as it is
            return lambda value: (
                value if type(value) is str else null if value is None or value is Undefined else coerce(value)
            )
    elif is_list_type(type_):
        coerce = _list_coercion(type_, above, room)
    elif type_ in above or type_.is_one_of or type_.out_type is not GraphQLInputObjectType.out_type:
        raise _Unusual
    else:
        coerce = _object_coercion(type_, above, room)
    return lambda value: null if value is None or value is Undefined else coerce(value)


def _leaf_coercion(type_: Any) -> Convert:
    parse = type_.coerce_input_value
    if isinstance(type_, GraphQLEnumType):
        parse = partial(parse, hide_suggestions=True)  # Nobody reads them here, and they take 0.2 ms.

    def coerce(value: Any) -> Any:
        try:
            return parse(value)
        except Exception:  # noqa: BLE001 - as graphql-core
            return Undefined

    return coerce


def _list_coercion(type_: Any, above: tuple[GraphQLInputType, ...], room: _Room) -> Convert:
    coerce_item = _coercion(type_.of_type, (*above, type_), room)

    def coerce(value: Any) -> Any:
        if type(value) is not list:
            return coerce_input_value(value, type_)
        room.take(len(value))
        coerced = []
        for each in value:
            item = coerce_item(each)
            if item is Undefined:
                return item
            coerced.append(item)
        return coerced

    return coerce


def _object_coercion(type_: Any, above: tuple[GraphQLInputType, ...], room: _Room) -> Convert:
    fields = [
        (
            name,
            field.out_name or name,
            _coercion(field.type, (*above, type_), room),
            is_required_input_field(field),
            *_default(field),
        )
        for name, field in type_.fields.items()
    ]

    def coerce(value: Any) -> Any:
        if type(value) is not dict or not value.keys() <= type_.fields.keys():
            return coerce_input_value(value, type_)
        coerced = {}
        for name, out_name, coerce_part, required, default, changeable in fields:
            given = value.get(name, Undefined)
            if given is not Undefined:
                part = coerce_part(given)
                if part is Undefined:
                    return part
            elif required:
                return Undefined
            else:
                part = default if changeable is None else coerce_default_value(changeable)
                if part is Undefined:
                    continue
            coerced[out_name] = part
        return coerced

    return coerce


def _default(field: GraphQLInputField) -> tuple[Any, GraphQLInputField | None]:
    """Return a field's default, and the field if somebody could change that: then each has one of their own."""
    default = coerce_default_value(field)
    return default, None if default is None or default is Undefined or type(default) in UNCHANGEABLE else field


def argument_values(definition: GraphQLField, node: FieldNode) -> Callable[["Execution"], dict[str, Any]]:
    """Prepare graphql-core's `get_argument_values` for a field."""

    def ask(x: "Execution") -> dict[str, Any]:
        return get_argument_values(definition, node, x.variables, None, x.hide_suggestions)

    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    try:
        plan = [
            (
                argument.out_name or name,
                *_variable_and_constant(given.get(name), argument),
                is_non_null_type(argument.type),
            )
            for name, argument in definition.args.items()
        ]
    except (_Unusual, TypeError):  # as above
        return ask

    def find(coerced: dict[str, Any]) -> dict[str, Any] | None:
        found = {}
        for out_name, variable, constant, non_null in plan:
            value = constant if variable is None else coerced.get(variable, constant)
            if value is None and non_null:  # by a variable that has a default and yet may be null
                return None
            if value is not Undefined:
                found[out_name] = value
        return found

    def values(x: "Execution") -> dict[str, Any]:
        found = find(x.variables.coerced)
        return ask(x) if found is None else found

    constants = None if any(variable for _, variable, *_ in plan) else find({})
    return values if constants is None else lambda _: constants


def _variable_and_constant(node: ValueNode | None, argument: GraphQLArgument) -> tuple[str | None, Any]:
    """Name the variable that gives an argument, if one does, and what the argument is without it.

    Only what nobody can change is shared by all executions: numbers, text and the like.
    """
    if node is None or isinstance(node, VariableNode):
        return None if node is None else node.name.value, coerce_default_value(argument)
    type_ = get_nullable_type(argument.type)
    if not isinstance(type_, GraphQLEnumType) and not (is_leaf_type(type_) and is_specified_scalar_type(type_)):
        raise _Unusual
    value = coerce_input_literal(node, argument.type)
    if value is Undefined:
        raise _Unusual
    return None, value


def converted_arguments(field: StrawberryField, schema: Schema) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Prepare Strawberry's `convert_arguments` for a field."""
    config, registry = schema.config, schema.schema_converter.scalar_registry
    try:
        plan = [
            (config.name_converter.from_argument(each), each.python_name, _conversion(each.type, schema, ()))
            for each in field.arguments
        ]
    except _Unusual:
        return lambda values, info: convert_arguments(values, field.arguments, registry, config, info)

    def convert(values: dict[str, Any], _info: Any) -> dict[str, Any]:
        return {
            python_name: values[name] if conversion is None else conversion(values[name])
            for name, python_name, conversion in plan
            if name in values
        }

    return convert


def _conversion(type_: Any, schema: Schema, above: tuple[object, ...]) -> Convert | None:
    """Prepare Strawberry's `convert_argument` for a type; None if it leaves values as they are."""
    if isinstance(type_, StrawberryMaybe) or type_ is GlobalID:
        raise _Unusual
    if isinstance(type_, StrawberryOptional):
        return _conversion(type_.of_type, schema, above)
    if isinstance(type_, LazyType):
        return _conversion(type_.resolve_type(), schema, above)
    if isinstance(type_, StrawberryList):
        convert = _list_conversion(_conversion(type_.of_type, schema, above))
    elif is_scalar(type_, schema.schema_converter.scalar_registry) or _is_enum(type_):
        return None
    else:
        convert = _object_conversion(type_, schema, above)
    return lambda value: value if value is None or value is UNSET else convert(value)


def _is_enum(type_: Any) -> bool:
    return isinstance(type_, StrawberryEnumDefinition) or has_enum_definition(type_)


def _list_conversion(convert_item: Convert | None) -> Convert:
    return list if convert_item is None else lambda value: [convert_item(each) for each in value]


def _object_conversion(type_: Any, schema: Schema, above: tuple[object, ...]) -> Convert:
    definition = get_object_definition(type_)
    if definition is None or definition.from_input is not None or not definition.is_input or type_ in above:
        raise _Unusual
    absent = {
        field.python_name: None
        for field in definition.fields
        if field.default_value is MISSING and field.default_factory is MISSING
    }
    fields = [
        (
            schema.config.name_converter.from_field(field),
            field.python_name,
            _conversion(field.resolve_type(type_definition=definition), schema, (*above, type_)),
        )
        for field in definition.fields
    ]

    def convert(value: Any) -> Any:
        given = dict(absent)
        for name, python_name, convert_part in fields:
            if name in value:
                part = value[name]
                given[python_name] = part if convert_part is None else convert_part(part)
        return type_(**given)

    return convert
