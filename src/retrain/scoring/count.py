"""Two models and a holdout → how many rows have which truth and which two predictions, also by slice."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import joblib
import pandas as pd
from msgspec import Struct, field
from msgspec.structs import replace

from retrain.core.records import Label
from retrain.scoring import groups, models, rows, sketches
from retrain.scoring.plan import Comparison, Plan, Send, Side, Trial, Triple, blamed, or_end
from retrain.tables import FileError
from retrain.tables.hashing import Content, of_table
from retrain.tables.read import Table, brief, columns
from retrain.tables.values import MISSING, labels, names, quoted, vocabularies_differ

TRIED = 100
"""Rows that a challenger predicts at the end of its training."""
MANY_LABELS, ROWS_PER_LABEL = 100, 10
"""More different labels than this, with fewer rows for each, are no classes."""
MOST_VALUES = 100
"""Different values of a slice column. Each one costs memory, and the judge a share of its alpha."""

Slices = Counter[tuple[str, Label | None, Triple]]
"""Column, value (None: missing) and what the models made of it → rows."""


class Part(Struct, frozen=True):
    """Some rows of the holdout, counted."""

    cells: Counter[Triple] = field(default_factory=Counter)
    content: Content = field(default_factory=Content)
    slices: Slices = field(default_factory=Counter)
    leaked: Counter[Side] = field(default_factory=Counter)
    grouped: tuple[groups.Rows, ...] = ()
    sketched: sketches.Sketches = field(default_factory=dict)
    noted: frozenset[tuple[Side, str, bool]] = frozenset()

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.cells + other.cells,
            self.content + other.content,
            self.slices + other.slices,
            self.leaked + other.leaked,
            self.grouped + other.grouped,
            sketches.joined(self.sketched, other.sketched),
            self.noted | other.noted,
        )


def compared(plan: Comparison, send: Send) -> dict[str, Any]:
    """The answer to "compare"."""
    plan = rows.checked(plan)
    return answer(plan, *counted(plan, send))


def answer(plan: Comparison, total: Part, fingerprint: str) -> dict[str, Any]:
    """What is said of rows that were counted."""
    cells, slices = listed(total.cells), _listed_slices(plan, total.slices)
    together, most = groups.repeated(total.grouped), groups.MOST_PAIRS // (1 + len(slices))
    return {
        "cells": cells,
        "holdout": fingerprint,
        "sketch": total.content.sketch.tolist(),
        "sketches": sketches.listed(plan, total.sketched),
        "slices": [[*each, groups.together(groups.of_slice(together, *each[:2]), each[2], most)] for each in slices],
        "leaked": rows.listed(plan, total.leaked),
        "groups": groups.together(together, cells, most),
        "models": sorted(total.noted),
    }


def counted(plan: Comparison, send: Send) -> tuple[Part, str]:
    """The whole holdout, counted, and its fingerprint; the same for any chunk size and number of jobs.

    `send` is given which side is at work (None: workers are, on all) and the share of rows done.
    UnusableError where a side cannot be used.
    """
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        table = _table(plan)
        fractional = _fractional(plan, table)
        if plan.challenger is not None:  # no ledger knows controls
            plan = replace(plan, keys=sketches.keys(plan, table))
        try:
            total = _total(plan, table, fractional, send)
        except BrokenProcessPool:
            # A worker died. Alone, this process either has memory enough or dies at the step it sent last.
            total = _total(replace(plan, jobs=1), table, fractional, send)
    truths, *predictions = map(set[Any], zip(*total.cells, strict=True))
    for (side, path), predicted in zip(_models(plan), predictions, strict=True):
        if path is not None:
            with blamed(side, path):
                _check_vocabulary(predicted, truths, plan)
    return total, total.content.fingerprint(table.columns, plan.target)


def tried(plan: Trial, send: Send) -> dict[str, Any]:
    """The answer to "trial". UnusableError where a side cannot be used."""
    features, fractional = pd.DataFrame(), False
    if plan.holdout:
        send({"at": "holdout"})
        with blamed("holdout", plan.holdout):
            columns(plan.holdout, {plan.target: "promotion.target"})
            table = Table(plan.holdout, plan.dtypes, labels=[plan.target])
            fractional = _fractional(plan, table)
            features = next(table.chunks(TRIED)).drop(columns=plan.target)
    send({"at": "challenger"})
    with blamed("challenger", plan.challenger):
        if plan.holdout:
            models.predict(plan.challenger, plan.trusted, features, fractional, plan.aside)
        else:
            models.ready(plan.challenger, plan.trusted)
    return {"rows": len(features)}


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


def _fractional(plan: Plan, table: Table) -> bool:
    """Whether some labels are numbers with decimals. FileError where a row has no label, or there is no row."""
    if not table.rows:
        raise FileError("has no rows")
    unlabelled, fractional, known = 0, False, set[Any]()
    for chunk in table.chunks(plan.chunk, [plan.target]):
        target = chunk[plan.target]
        unlabelled += int((target.isna() | (target == "")).sum())
        known |= set(target.dropna().unique())
        fractional |= target.dtype.kind == "f" and bool((target.dropna() % 1 != 0).any())
    if unlabelled:
        raise FileError(
            f"has no label (column {plan.target!r}) in {unlabelled} of {table.rows} rows: label or drop them"
        )
    if len(known) > MANY_LABELS and table.rows < ROWS_PER_LABEL * len(known):
        raise FileError(
            f"has {len(known):,} different labels (column {plan.target!r}) in {table.rows:,} rows: is this a"
            " regression, or an identifier? Class labels are needed"
        )
    return fractional


def _models(plan: Comparison) -> tuple[tuple[Side, str | None], tuple[Side, str | None]]:
    return ("champion", plan.champion), ("challenger", plan.challenger)


def _total(plan: Comparison, table: Table, fractional: bool, send: Send) -> Part:
    total = Part()
    for part in _parts(plan, table, fractional, send):
        total += part
        _check_few(total.slices)
        send({"progress": total.content.rows / table.rows})
    return total


def _parts(plan: Comparison, table: Table, fractional: bool, send: Send) -> Iterator[Part]:
    chunks = table.chunks(plan.chunk)
    if plan.jobs == 1:
        yield from (_part(plan, fractional, chunk, send) for chunk in chunks)
        return
    send({"at": None})
    # Chunks go through pipes (max_nbytes), few at a time (pre_dispatch), so that neither memory nor a disk fills.
    parallel = joblib.Parallel(
        plan.jobs, return_as="generator_unordered", pre_dispatch=2 * plan.jobs, batch_size=1, max_nbytes=None
    )
    part = partial(_part, plan, fractional, send=lambda _: None)
    yield from parallel(joblib.delayed(or_end)(partial(part, chunk)) for chunk in chunks)


def _part(plan: Comparison, fractional: bool, chunk: pd.DataFrame, send: Send) -> Part:
    """One chunk, counted. `fractional` says that labels of the holdout have decimals."""
    try:
        truth = labels(chunk[plan.target])
    except (ValueError, TypeError) as error:
        raise FileError(f"cannot be used: column {plan.target!r}: {brief(error)}") from error
    features = chunk.drop(columns=plan.target)
    predictions: list[Sequence[Label | None]] = []
    for side, path in _models(plan):
        predictions.append([None] * len(truth))
        if path is not None:
            send({"at": side})
            with blamed(side, path):
                predictions[-1] = models.predict(
                    path, plan.trusted, features, fractional, [*plan.aside, plan.group or ""]
                )
    send({"at": "holdout"})
    return part_of(plan, chunk, list(zip(truth, *predictions, strict=True)))


def part_of(plan: Comparison, chunk: pd.DataFrame, triples: Sequence[Triple]) -> Part:
    """The rows, counted, by what the models made of each."""
    by_slice = {column: names(chunk[column]) for column in plan.slices}
    hashes = of_table(chunk)
    return Part(
        Counter(triples),
        Content.of(chunk, hashes),
        _sliced(by_slice, triples),
        rows.leaked(plan, chunk),
        (groups.Rows.of(groups.keys(chunk, plan.group, hashes), triples, by_slice),),
        sketches.of_chunk(plan.keys, chunk),
        frozenset(
            (side, *noted) for side, path in _models(plan) if path and any(noted := models.notes(path, plan.trusted))
        ),
    )


def _check_vocabulary(predicted: set[Any], truths: set[Any], plan: Plan) -> None:
    """FileError where a model's predictions are not in the vocabulary of the holdout's labels."""
    if differ := vocabularies_differ(predicted, truths):
        meant = sorted(truths & MISSING)
        missing = f" ({quoted(meant)} is a class: leave the field empty where a label is missing)" if meant else ""
        raise FileError(
            f"predicts {differ[0]}, but column {plan.target!r} of {plan.holdout} has {differ[1]}: "
            f"train it on the holdout's labels, or read those as another type with promotion.dtypes{missing}"
        )


def listed(cells: Mapping[Triple, int]) -> list[list[Any]]:
    """The cells as JSON knows them, [truth, champion, challenger, rows] each, in an order that depends on nothing."""
    return sorted(([*labels, count] for labels, count in cells.items()), key=json.dumps)


def _sliced(by_slice: Mapping[str, Sequence[Label | None]], triples: Sequence[Triple]) -> Slices:
    """One chunk by the values of its columns, `triples` being those of its rows."""
    counts: Slices = Counter()
    for column, values in by_slice.items():
        found = Counter(zip(values, triples, strict=True))
        counts |= {(column, *key): count for key, count in found.items()}
    return counts


def _check_few(slices: Slices) -> None:
    """FileError where a slice column has too many values."""
    values = dict.fromkeys((column, value) for column, value, _ in slices if value is not None)
    for column, number in Counter(column for column, _ in values).items():
        if number > MOST_VALUES:
            raise FileError(
                f"has at least {number} different values in column {column!r}, and a slice column needs few "
                f"({MOST_VALUES} at most): name a coarser one in promotion.slices, such as an age group instead of "
                "an age"
            )


def _listed_slices(plan: Comparison, slices: Slices) -> list[list[Any]]:
    """[column, value, cells] of every slice: columns as configured, numbers before texts before the missing value."""
    cells: dict[tuple[str, Any], dict[Triple, int]] = {}
    for (column, value, triple), count in slices.items():
        cells.setdefault((column, value), {})[triple] = count

    def place(key: tuple[str, Any]) -> tuple[Any, ...]:
        column, value = key
        return list(plan.slices).index(column), value is None, isinstance(value, str), value

    return [[*key, listed(cells[key])] for key in sorted(cells, key=place)]
