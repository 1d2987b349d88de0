"""A JSON document: one JMESPath expression for every number."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from retrain.core.records import Trouble, Unknown
from retrain.core.text import one_line
from retrain.effects.monitoring import Answer, Reading, float_of, json_of, refusal

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult


def parse(expression: str) -> "ParsedResult":
    """The compiled expression. Raises ValueError with a clause where it is no JMESPath."""
    import jmespath
    from jmespath.functions import Functions

    try:
        compiled = jmespath.compile(expression)
        unknown = sorted(_functions(compiled.parsed) - set(Functions.FUNCTION_TABLE))
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        raise ValueError(f"is not a JMESPath expression: {one_line(str(error))}") from error
    if unknown:
        raise ValueError(f"calls {unknown[0]}(), which JMESPath does not have")
    return compiled


def _functions(node: Any) -> set[str]:
    """The functions that a parsed expression calls; the library would notice an unknown one too late."""
    below: Iterator[set[str]] = (_functions(child) for child in node.get("children", ()) if isinstance(child, dict))
    own = {str(node["value"])} if node.get("type") == "function_expression" else set()
    return own.union(*below)


def read(expressions: Mapping[str, "ParsedResult"], body: bytes, _content_type: str = "") -> Mapping[str, Answer]:
    """An answer for each query: the plain JSON value that its expression selects."""
    document = json_of(body)
    if isinstance(refused := document if isinstance(document, Unknown) else refusal(document), Unknown):
        return dict.fromkeys(expressions, refused)
    return {query: _search(expression, document) for query, expression in expressions.items()}


@cache
def _options() -> Any:
    """How expressions are evaluated: to_number() reads what Prometheus writes, and no list with a NaN has an order.

    Python's largest of such a list depends on where the NaN stands.
    """
    import jmespath
    from jmespath.functions import Functions

    class Strict(Functions):
        def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
            match function_name, resolved_args:
                case "to_number", [str(text)]:
                    return _number_in(text)
                case "max" | "min" | "sort", [values]:
                    _ordered(function_name, values)
            return super().call_function(function_name, resolved_args)

        def _create_key_func(self, expref: Any, allowed_types: Any, function_name: str) -> Any:
            key = super()._create_key_func(expref, allowed_types, function_name)  # type: ignore[misc]
            return lambda item: _ordered(function_name, [key(item)])[0]

    return jmespath.Options(custom_functions=Strict())


def _ordered(name: str, values: Any) -> Any:
    if isinstance(values, list) and any(isinstance(each, float) and math.isnan(each) for each in values):
        raise ValueError(f"{name}() was given a NaN, which is neither more nor less than a number")
    return values


def _number_in(text: str) -> float | None:
    try:
        value = float_of(text)
    except ValueError:
        return None
    with suppress(ValueError):  # a whole number may have more digits than a float
        return int(text)
    return value


def _search(expression: "ParsedResult", document: object) -> Answer:
    from jmespath.exceptions import JMESPathTypeError

    try:
        return Reading(expression.search(document, options=_options()))
    except JMESPathTypeError as error:
        kind = Trouble.MISSING if error.actual_type == "null" else Trouble.NOT_A_NUMBER
        needed = " or ".join(error.expected_types)
        why = f"{error.function_name}() needs {needed} and was given {error.actual_type}"
    except Exception as error:  # the expression meets whatever the endpoint sent
        kind, why = Trouble.NOT_A_NUMBER, str(error) or type(error).__name__
    return Unknown(kind, f"does not fit the answer: {why}", "check the query")
