"""Who is compared on the holdout, and with what verdict: the part of `promote` before it acts."""

from dataclasses import replace
from pathlib import Path

from retrain.case import KEPT, TRAINED, Case, Order, Pair, stamp_of
from retrain.context import Context
from retrain.core.events import Judged
from retrain.core.judge import judge
from retrain.core.ledger import next_look
from retrain.core.past import Past
from retrain.core.rules import Gate
from retrain.core.verdicts import Tally
from retrain.core.words import moment, short
from retrain.effects import evaluation, registry
from retrain.errors import RetrainError
from retrain.leakage import KnownRows, RefusedError, basis, known_rows, told_of_leakage


def pair_of(case: Case) -> Pair:
    """The challenger that was ordered and the champion that serves. RetrainError where there is nothing to compare."""
    past, order, models = case.journal.past(), case.order, case.context.config.models
    challenger, challenger_file, source = _challenger(case.context, past, order)
    if challenger in past.banned and order.forced is None:
        raise RetrainError(
            f"{short(challenger)} was in service and was rolled back (retrain status says when), so it is not promoted"
            " again; promote --force --reason TEXT promotes it anyway"
        )
    serving = registry.served(models)
    if serving is None:
        if past.served is not None and order.forced is None:
            raise RetrainError(
                f"{models.champion} is gone, and the journal says that {short(past.served)} served: retrain rollback"
                " puts it back (promote --force goes on without it)"
            )
        return Pair(challenger, challenger_file, None, None, source)
    champion = serving.version or registry.identify(serving.path)
    if champion == challenger:
        raise RetrainError(
            f"challenger and champion are the same file, {short(challenger)}: there is nothing to compare"
        )
    return Pair(challenger, challenger_file, champion, serving.path, source)


def _challenger(context: Context, past: Past, order: Order) -> tuple[str, Path, str]:
    """The challenger's version, the file of its bytes, and whence it came."""
    models = context.config.models
    if order.challenger is None:
        return _trained_challenger(context, past)
    path = Path(order.challenger)
    if not registry.is_there(path):
        version = registry.find(models, order.challenger)
        return version, registry.verify(models, version), KEPT
    registry.check_format(models, path)
    if order.dry_run:
        return registry.identify(path), path, str(path.absolute())
    version = registry.admit(models, path)
    return version, registry.verify(models, version), str(path.absolute())


def _trained_challenger(context: Context, past: Past) -> tuple[str, Path, str]:
    models = context.config.models
    if past.challenger is None:
        raise RetrainError(
            f"no challenger waits: no training has left one since the last promotion"
            f" (retrain promote {models.challenger} judges that file)"
        )
    version, run = past.challenger.version, past.challenger.run
    if models.challenger.exists() and (found := registry.identify(models.challenger)) != version:
        raise RetrainError(
            f"{models.challenger} is not what training {run} left: it is {short(found)} and was {short(version)}."
            f" Name the file or {short(version)} to judge one of them"
        )
    return version, registry.verify(models, version), f"{TRAINED}{run}"


def judged_on(case: Case, pair: Pair) -> tuple[Judged, list[str]]:
    """The verdict, a recorded one where the same question was asked before, else that of a new look; and what is to be
    told of leakage.

    Raises RefusedError where a training has seen too many of the rows.
    """
    context, journal = case.context, case.journal
    asked, holdout = question(context), context.config.promotion.holdout
    stamp, rows = stamp_of(holdout), known_rows(context, pair.challenger, pair.champion)
    known = journal.recorded_for_file(stamp, pair.champion, pair.challenger, asked)
    if known is not None and rows.stamp == known.known_rows:
        told = told_of_leakage(case, pair, known.leaked, known.verdict.rows, rows)
        return _again(known, case, pair), told
    tally, rows = _score(case, pair, rows)
    if stamp_of(holdout) != stamp:
        raise RetrainError(f"{holdout}: was changed while the models were scored on it; try again")
    told = told_of_leakage(case, pair, tally.leaked, tally.rows, rows)
    # A champion that could not be scored was not compared: this must never be taken for a win over it.
    champion = None if any(cell.champion is None for cell in tally.cells) else pair.champion
    known = journal.recorded(tally.holdout, champion, pair.challenger, asked)
    if known is not None:
        counted = replace(known, file=stamp, leaked=tally.leaked, known_rows=rows.stamp)
        return _again(counted, case, pair), told
    history, losses = list(journal.judgements()), journal.past().losses
    if losses:
        told = [*told, _told_of_loss(journal.past(), context.config.gate)]
    judged = Judged(
        challenger=pair.challenger,
        champion=champion,
        holdout=tally.holdout,
        question=asked,
        file=stamp,
        verdict=judge(tally, context.config.gate, next_look(tally, history, losses * context.config.gate.holdout_uses)),
        dry_run=case.order.dry_run,
        source=pair.source,
        sketch=() if any(judged.holdout == tally.holdout for judged in history) else tally.sketch,
        classes=tally.classes,
        leaked=tally.leaked,
        known_rows=rows.stamp,
    )
    return judged, told


def _told_of_loss(past: Past, gate: Gate) -> str:
    lost = moment(past.lost_at) if past.lost_at is not None else "once"
    return (
        f"The looks before {lost} are not known, since the journal was lost then, and are counted as"
        f" {past.losses * gate.holdout_uses}"
    )


def _again(known: Judged, case: Case, pair: Pair) -> Judged:
    """The repetition of a recorded look."""
    return replace(known, repeated=True, dry_run=case.order.dry_run, source=pair.source, sketch=())


def _score(case: Case, pair: Pair, rows: KnownRows) -> tuple[Tally, KnownRows]:
    """Both models on the holdout, and the known rows that were of use.

    Only a person's --force goes past a champion that cannot be scored, or known rows of the challenger that are no use.
    """
    order, models = case.order, case.context.config.models
    promotion, directory = case.context.config.promotion, case.context.config.training.directory
    try:
        if pair.champion is not None and pair.champion_file != models.champion:  # an ordinary file is what it is
            registry.verify(models, pair.champion)
        tally = evaluation.compare(
            pair.champion_file,
            pair.challenger_file,
            promotion,
            directory,
            order.progress,
            models=models,
            known_challenger=rows.challenger,
            known_champion=rows.champion,
        )
    except RetrainError as error:
        side = error.side if isinstance(error, evaluation.Unscorable) else "champion"
        if side == "known rows" and order.forced is None:
            raise RefusedError(str(error), pair.challenger, basis(case.context, rows)) from error
        if side == "known rows":
            return _score(case, pair, KnownRows(None, rows.champion))
        if order.forced is None or pair.champion is None or side != "champion":
            raise
        tally = evaluation.compare(None, pair.challenger_file, promotion, directory, order.progress, models=models)
        rows = KnownRows()
    if registry.identify(pair.challenger_file) != pair.challenger:
        raise RetrainError(f"{pair.challenger_file}: was changed while it was scored; try again")
    return tally, rows


def question(context: Context) -> str:
    """All that shapes the answer besides the two models and the rows."""
    promotion = context.config.promotion
    asked = f"{context.config.gate.question}; target {promotion.target}; dtypes {sorted(promotion.dtypes.items())}"
    return asked + (f"; slices {', '.join(promotion.slices)}" if promotion.slices else "")
