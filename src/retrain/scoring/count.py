"""A holdout and two models' predictions → how many rows have which truth and predictions, also by slice."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from msgspec import Struct
from msgspec.structs import replace

from retrain.scoring import groups, rows, sketches
from retrain.scoring.groups import Coded
from retrain.scoring.plan import Comparison, Plan, Send, Side, Triple, blamed
from retrain.scoring.predict import RemoteModel, connected, has_fractions, predicted
from retrain.tables import FileError
from retrain.tables.hashing import Content, of_table
from retrain.tables.read import Table, brief, columns
from retrain.tables.values import MISSING, label_codes, names, quoted, vocabularies_differ

MOST_VALUES = 100
"""Different values of a slice column. Each one costs memory, and the judge a share of its alpha."""


class Part(Struct, frozen=True):
    """Some rows of the holdout: what the models made of each, and what is known of their content."""

    rows: tuple[groups.Rows, ...]
    content: Content
    leaked: Counter[Side]
    sketched: sketches.Sketches
    fingerprint: str = ""
    noted: Sequence[tuple[str, str, bool]] = ()

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.rows + other.rows,
            self.content + other.content,
            self.leaked + other.leaked,
            sketches.joined(self.sketched, other.sketched),
        )


def compared(plan: Comparison, send: Send) -> dict[str, Any]:
    """The answer to "compare"."""
    with connected(send, plan.champion, plan.challenger) as models:
        plan = rows.checked(plan)
        return answer(plan, counted(plan, models, send))


def answer(plan: Comparison, total: Part) -> dict[str, Any]:
    """What is said of rows that were counted."""
    counted = groups.Rows.joined(total.rows)
    cells, slices = listed(counted.triples.counts), _listed_slices(counted)
    together, most = groups.repeated(counted), groups.MOST_PAIRS // (1 + len(slices))
    return {
        "cells": cells,
        "holdout": total.fingerprint,
        "sketches": sketches.listed(plan, total.sketched),
        "slices": [[*each, groups.together(groups.of_slice(together, *each[:2]), each[2], most)] for each in slices],
        "leaked": rows.listed(plan, total.leaked),
        "groups": groups.together(together, cells, most),
        "models": total.noted,
    }


def counted(plan: Comparison, models: Sequence[RemoteModel], send: Send) -> Part:
    """The whole holdout, counted, and what these models predict of it; the same for any chunk size.

    `send` is given which side is at work and the share of rows done. UnusableError where a side cannot be used.
    """
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        table = _table(plan)
        fractional = has_fractions(plan, table)
        if plan.challenger is not None:  # no ledger knows controls
            plan = replace(plan, keys=sketches.keys(plan, table))
        total: Part | None = None
        seen: dict[str, set[Any]] = {column: set() for column in plan.slices}
        for chunk, found in predicted(plan, table, models, fractional, send):
            labels = {model.side: each for model, each in zip(models, found, strict=True)}
            part = part_of(plan, chunk, _triples(plan, chunk[plan.target], labels))
            total = part if total is None else total + part
            _check_few(seen, part.rows[0].slices)
            send({"progress": total.content.rows / table.rows})
        assert total is not None  # noqa: S101  (there are rows, or there would be no fractions)
        triples = {triple for part in total.rows for triple in part.triples.values}
        truths, *predictions = map(set[Any], zip(*triples, strict=True))
        for model in models:
            _check_vocabulary(model, predictions[model.side == "challenger"], truths, plan)
        fingerprint = total.content.fingerprint(table.columns, plan.target)
        noted = [(each.side, *each.notes) for each in models if each.notes is not None and any(each.notes)]
        return replace(total, fingerprint=fingerprint, noted=noted)


def _table(plan: Comparison) -> Table:
    """The holdout. FileError where it cannot be read, or lacks a column that the configuration names."""
    if plan.target == plan.group:
        raise FileError(
            f"cannot be grouped by {plan.target!r}, which is promotion.target: promotion.group names a column that "
            "says which rows belong together, such as those of one customer"
        )
    if plan.target in plan.slices:
        raise FileError(
            f"cannot be sliced by {plan.target!r}, which is promotion.target: promotion.slices names columns "
            "that say of what kind a row is, not which label it has"
        )
    named = dict.fromkeys(plan.dtypes, "promotion.dtypes") | dict.fromkeys(plan.slices, "promotion.slices")
    named |= {plan.group: "promotion.group"} if plan.group is not None else {}
    columns(plan.holdout, named | {plan.target: "promotion.target"})
    return Table(plan.holdout, plan.dtypes, labels=[plan.target])


def _triples(plan: Comparison, target: "pd.Series[Any]", labels: Mapping[Side, Coded]) -> Coded:
    """Of each row the truth and what the champion and the challenger predict, None where there is no such model."""
    try:
        codes, known = label_codes(target)
    except (ValueError, TypeError) as error:
        raise FileError(f"cannot be used: column {plan.target!r}: {brief(error)}") from error
    nothing = Coded.of([None], codes * 0)
    sides = labels.get("champion", nothing), labels.get("challenger", nothing)
    return Coded.joint(Coded.of(known, codes), *sides)


def part_of(plan: Comparison, chunk: pd.DataFrame, triples: Coded) -> Part:
    """The rows, of each of which this is what the models made."""
    hashes = of_table(chunk)
    by_slice = {column: Coded.of(names(chunk[column])) for column in plan.slices}
    return Part(
        (groups.Rows(groups.keys(chunk, plan.group, hashes), triples, by_slice),),
        Content.of(chunk, hashes),
        rows.leaked(plan, chunk),
        sketches.of_chunk(plan.keys, chunk),
    )


def _check_vocabulary(model: RemoteModel, predicted: set[Any], truths: set[Any], plan: Plan) -> None:
    """UnusableError where a model's predictions are not in the vocabulary of the holdout's labels."""
    if differ := vocabularies_differ(predicted, truths):
        meant = sorted(truths & MISSING)
        missing = f" ({quoted(meant)} is a class: leave the field empty where a label is missing)" if meant else ""
        model.refuse(
            f"predicts {differ[0]}, but column {plan.target!r} of {plan.holdout} has {differ[1]}: "
            f"train it on the holdout's labels, or read those as another type with promotion.dtypes{missing}"
        )


def listed(cells: Mapping[Triple, int]) -> list[list[Any]]:
    """The cells as JSON knows them, [truth, champion, challenger, rows] each, in an order that depends on nothing."""
    return sorted(([*labels, count] for labels, count in cells.items()), key=json.dumps)


def _check_few(seen: Mapping[str, set[Any]], slices: Mapping[str, Coded]) -> None:
    """FileError where a slice column has too many values, those that were `seen` before counted."""
    for column, coded in slices.items():
        seen[column].update(value for value in coded.values if value is not None)
        if (number := len(seen[column])) > MOST_VALUES:
            raise FileError(
                f"has at least {number} different values in column {column!r}, and a slice column needs few "
                f"({MOST_VALUES} at most): name a coarser one in promotion.slices, such as an age group instead of "
                "an age"
            )


def _listed_slices(rows: groups.Rows) -> list[list[Any]]:
    """[column, value, cells] of every slice: columns as configured, numbers before texts before the missing value."""
    found: list[list[Any]] = []
    for column, coded in rows.slices.items():
        cells: dict[Any, dict[Triple, int]] = {}
        for (value, triple), count in Coded.joint(coded, rows.triples).counts.items():
            cells.setdefault(value, {})[triple] = count
        order = sorted(cells, key=lambda value: (value is None, isinstance(value, str), value))
        found += [[column, value, listed(cells[value])] for value in order]
    return found
