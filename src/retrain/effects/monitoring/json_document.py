"""A JSON document: one JMESPath expression for every number."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from retrain.core.records import Trouble, Unknown
from retrain.core.text import one_line
from retrain.effects.monitoring.readings import Answer, Reading, json_of

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


def read(body: bytes, expressions: Mapping[str, "ParsedResult"]) -> Mapping[str, Answer]:
    """An answer for each query: the plain JSON value that its expression selects."""
    document = json_of(body)
    if isinstance(document, Unknown):
        return dict.fromkeys(expressions, document)
    return {query: _search(expression, document) for query, expression in expressions.items()}


def _search(expression: "ParsedResult", document: object) -> Answer:
    from jmespath.exceptions import JMESPathTypeError

    try:
        return Reading(expression.search(document))
    except JMESPathTypeError as error:
        kind = Trouble.MISSING if error.actual_type == "null" else Trouble.NOT_A_NUMBER
        needed = " or ".join(error.expected_types)
        why = f"{error.function_name}() needs {needed} and was given {error.actual_type}"
    except Exception as error:  # the expression meets whatever the endpoint sent
        kind, why = Trouble.NOT_A_NUMBER, str(error) or type(error).__name__
    return Unknown(kind, f"does not fit the answer: {why}", "check the query")
