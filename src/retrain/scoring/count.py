"""A holdout and two models' predictions → how many rows have which truth and predictions, also by slice."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from msgspec import Struct
from msgspec.structs import replace

from retrain.scoring import groups, rows, sketches
from retrain.scoring.groups import Coded, Rows
from retrain.scoring.plan import Comparison, Send, Side, Triple, blamed
from retrain.scoring.predict import RemoteModel, check_vocabulary, connected, has_fractions, labels_of, predicted
from retrain.scoring.sketches import Sketches
from retrain.tables import FileError
from retrain.tables.hashing import Content, Hashes, of_table
from retrain.tables.read import Table, columns
from retrain.tables.values import names

MOST_VALUES = 100
"""Different values of a slice column. Each one costs memory, and the judge a share of its alpha."""

Slices = Mapping[str, Counter[tuple[Any, Triple]]]
"""Of each slice column, how many rows have which value and triple."""


class Part(Struct, frozen=True):
    """Some rows of the holdout: how many of them the models made what of, and what is known of their content."""

    cells: Counter[Triple]
    slices: Slices
    content: Content
    leaked: rows.Found
    sketched: Sketches
    fingerprint: str = ""
    noted: tuple[tuple[str, str, bool], ...] = ()

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.cells + other.cells,
            {column: its + other.slices[column] for column, its in self.slices.items()},
            self.content + other.content,
            self.leaked + other.leaked,
            sketches.joined(self.sketched, other.sketched),
            noted=tuple(dict.fromkeys((*self.noted, *other.noted))),
        )


class Unpredicted(Struct, frozen=True):
    """Rows whose predictions are not known yet: of each its label, its group as a hash, its value in slice columns."""

    labels: Coded
    groups: Hashes
    slices: Mapping[str, Coded]

    def tallied(self, triples: Coded) -> tuple[Counter[Triple], Slices, Rows]:
        """How many rows have which of these triples, also by slice; and what their groups are counted by."""
        slices = {column: Counter(Coded.joint(its, triples).counts) for column, its in self.slices.items()}
        return Counter(triples.counts), slices, Rows(self.groups, triples, self.slices)


def compared(plan: Comparison, send: Send) -> dict[str, Any]:
    """The answer to "compare"."""
    with connected(send, plan.champion, plan.challenger) as models, groups.Kept() as kept:
        plan = rows.checked(plan)
        total = counted(plan, models, send, kept.add)
        return answer(plan, total, kept.tied)


def answer(plan: Comparison, total: Part, tied: groups.Tie) -> dict[str, Any]:
    """What is said of rows that were counted; `tied` says how those of cells and slices fall into groups."""
    cells, slices = listed(total.cells), _listed_slices(total.slices)
    whole, *of_slices = tied(cells, slices)
    most = groups.MOST_PAIRS // (1 + len(slices))
    return {
        "cells": cells,
        "holdout": total.fingerprint,
        "sketches": sketches.listed(plan, total.sketched),
        "slices": [[*each, groups.together(its, each[2], most)] for each, its in zip(slices, of_slices, strict=True)],
        "leaked": rows.listed(plan, total.leaked, total.content.rows),
        "groups": groups.together(whole, cells, most),
        "models": total.noted,
    }


def counted(
    plan: Comparison, models: Sequence[RemoteModel], send: Send, keep: Callable[[Rows], None] = lambda _rows: None
) -> Part:
    """The whole holdout, counted, and what these models predict of it; the same for any chunk size.

    `keep` is given the rows, where their groups are to be counted, and `send` which side is at work and the share of
    rows done. UnusableError where a side cannot be used.
    """
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        table = table_of(plan)
        fractional = has_fractions(plan, table)
        if plan.challenger is not None:  # no ledger knows controls
            plan = replace(plan, keys=sketches.keys(plan, table))
        total = summed(plan, table, models, fractional=fractional, send=send, keep=keep)
    return finished(plan, total, table.columns, {model.side: model.path for model in models})


def summed(  # noqa: PLR0913  (the rows, the models, and who hears of them)
    plan: Comparison,
    table: Table,
    models: Sequence[RemoteModel],
    *,
    fractional: bool,
    send: Send,
    keep: Callable[[Rows], None],
) -> Part:
    """The rows of a table, counted; `fractional` says that labels of the holdout have decimals."""
    known: Part | None = None
    cells = Counter[Triple]()
    slices: Slices = {column: Counter() for column in plan.slices}

    def prepared(chunk: pd.DataFrame) -> Unpredicted:
        nonlocal known
        part, waiting = part_of(plan, chunk, known.sketched if known is not None else {})
        known = part if known is None else known + part
        return waiting

    for waiting, found in predicted(plan, table, models, fractional, prepared=prepared):
        triples = _triples(waiting.labels, dict(zip((it.side for it in models), found, strict=True)))
        more, by_slice, of_groups = waiting.tallied(triples)
        cells.update(more)
        for column, its in by_slice.items():
            slices[column].update(its)
        keep(of_groups)
        check_few(slices)
        send({"progress": cells.total() / table.rows})
    assert known is not None  # noqa: S101  (there are rows, or there would be no fractions)
    noted = tuple((each.side, *each.notes) for each in models if each.notes is not None and any(each.notes))
    return replace(known, cells=cells, slices=slices, noted=noted)


def finished(plan: Comparison, total: Part, columns: Sequence[str], models: Mapping[Side, str]) -> Part:
    """The whole holdout with its fingerprint. UnusableError where one of the `models`, files by side, cannot be used.

    That is one whose predictions are not in the vocabulary of the labels.
    """
    truths, *predictions = map(set[Any], zip(*total.cells, strict=True))
    for side, path in models.items():
        check_vocabulary(side, path, predictions[side == "challenger"], truths, plan)
    return replace(total, fingerprint=total.content.fingerprint(columns, plan.target))


def table_of(plan: Comparison) -> Table:
    """The holdout. FileError where it cannot be read, or lacks a column that the configuration names."""
    if plan.target == plan.group:
        what = "a column that says which rows belong together, such as those of one customer"
        raise FileError(
            f"cannot be grouped by {plan.target!r}, which is promotion.target: promotion.group names {what}"
        )
    if plan.target in plan.slices:
        what = "columns that say of what kind a row is, not which label it has"
        raise FileError(
            f"cannot be sliced by {plan.target!r}, which is promotion.target: promotion.slices names {what}"
        )
    named = dict.fromkeys(plan.dtypes, "promotion.dtypes") | dict.fromkeys(plan.slices, "promotion.slices")
    named |= {plan.group: "promotion.group"} if plan.group is not None else {}
    columns(plan.holdout, named | {plan.target: "promotion.target"})
    return Table(plan.holdout, plan.dtypes, labels=[plan.target])


def _triples(truth: Coded, labels: Mapping[Side, Coded]) -> Coded:
    """Of each row the truth and what the champion and the challenger predict, None where there is no such model."""
    nothing = Coded.of([None], truth.codes * 0)
    return Coded.joint(truth, labels.get("champion", nothing), labels.get("challenger", nothing))


def part_of(plan: Comparison, chunk: pd.DataFrame, before: Sketches) -> tuple[Part, Unpredicted]:
    """What is known of these rows without a model, and what waits for the predictions."""
    hashes, sketched = of_table(chunk), sketches.of_chunk(plan.keys, chunk, before)
    part = Part(Counter(), {}, Content.of(hashes), rows.leaked(plan, chunk), sketched)
    slices = {column: Coded.of(names(chunk[column])) for column in plan.slices}
    return part, Unpredicted(labels_of(plan, chunk), groups.keys(chunk, plan.group, hashes), slices)


def listed(cells: Mapping[Triple, int]) -> list[list[Any]]:
    """The cells as JSON knows them, [truth, champion, challenger, rows] each, in an order that depends on nothing."""
    return sorted(([*labels, count] for labels, count in cells.items()), key=json.dumps)


def check_few(slices: Slices) -> None:
    """FileError where a slice column has too many values."""
    for column, counts in slices.items():
        if (number := len({value for value, _ in counts if value is not None})) > MOST_VALUES:
            why = f"has at least {number} different values in column {column!r}, and a slice column needs few"
            remedy = "name a coarser one in promotion.slices, such as an age group instead of an age"
            raise FileError(f"{why} ({MOST_VALUES} at most): {remedy}")


def _listed_slices(slices: Slices) -> list[list[Any]]:
    """[column, value, cells] of every slice: columns as configured, numbers before texts before the missing value."""
    found: list[list[Any]] = []
    for column, counts in slices.items():
        cells: dict[Any, dict[Triple, int]] = {}
        for (value, triple), count in counts.items():
            cells.setdefault(value, {})[triple] = count
        order = sorted(cells, key=lambda value: (value is None, isinstance(value, str), value))
        found += [[column, value, listed(cells[value])] for value in order]
    return found
