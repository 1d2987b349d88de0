"""`retrain promote`: compare challenger and champion on the holdout; swap only if the challenger is really better."""

import re
from dataclasses import replace

from retrain.case import Case, Order, Pair, stamp_of
from retrain.comparison import judged_on, pair_of, question
from retrain.context import Context
from retrain.core.events import UNKNOWN_ROWS, Judged, NotJudged, Rejected, Swap, SwapStarted
from retrain.core.past import PROMOTION, Challenger
from retrain.core.verdicts import Ruling
from retrain.core.words import counted, duration, short
from retrain.effects import lock, registry
from retrain.effects.journal import Journal, open_journal
from retrain.errors import BusyError, Exit, RetrainError
from retrain.handover import SwapUndoneError, hand_over, settle
from retrain.leakage import RefusedError, basis, known_rows
from retrain.report import Report

EXIT = {Ruling.PROMOTE: Exit.DONE, Ruling.REJECT: Exit.REJECTED, Ruling.INCONCLUSIVE: Exit.INCONCLUSIVE}


def promote(context: Context, order: Order) -> Report:
    """The report of a comparison, and of the swap that followed it."""
    with open_journal(context.config.state) as journal:
        if not order.if_pending:
            return _promote(context, journal, order)
        challenger = journal.past().challenger
        try:
            if challenger is None or not _is_pending(context, journal, challenger):
                return _nothing_waits(journal.news)
            return _promote(context, journal, order)
        except BusyError as error:
            return _failed(error, news=False)
        except (SwapUndoneError, RefusedError) as error:
            return _failed(error, news=True)
        except RetrainError as error:
            # cron will ask again and again: like a check, it tells a failure once.
            # What it quotes may be the last words of a model, and a program can read whatever we can.
            scrub = context.secrets.scrub
            now, repeat_after = context.clock(), context.config.notifications.repeat_after
            news = journal.past().is_news(PROMOTION, now, repeat_after)
            if news:
                journal.append(NotJudged(challenger.version if challenger else "", scrub(str(error))), now)
            return _failed(error, news=news)


def _failed(error: RetrainError, *, news: bool) -> Report:
    return Report(str(error), {"error": str(error), "exit_code": error.exit_code}, error.exit_code, news)


def _promote(context: Context, journal: Journal, order: Order) -> Report:
    registry.refuse_open_doors(context.config.models)
    with lock.hold(context.config.state, "promote", context.clock()) as lock_fd:
        settled = (*journal.news, *(() if order.dry_run else settle(context, journal, lock_fd)))
        if order.rejected is not None:
            return _reject(context, journal, order.rejected)
        waiting = journal.past().challenger
        # Whoever held the lock until now may have judged it, or what was settled was its promotion.
        if order.if_pending and (waiting is None or not _is_pending(context, journal, waiting)):
            return _nothing_waits(settled)
        case = Case(context, journal, order, lock_fd)
        pair = pair_of(case)
        try:
            judged, leaks = judged_on(case, pair)
        except RefusedError as refused:
            if not order.dry_run:
                journal.append(
                    NotJudged(refused.version, context.secrets.scrub(str(refused)), refused.because), context.clock()
                )
            raise
        journal.append(judged, context.clock())
        report = _act(case, pair, judged, leaks)
    told = (report.message, *(f"(before that, {each})" for each in settled))
    return replace(report, message=(" " if order.if_pending else "\n  ").join(told))


def _nothing_waits(settled: tuple[str, ...]) -> Report:
    """The report where no challenger waits, any more perhaps, and of what was settled before that was seen."""
    message = " ".join(("no challenger waits", *(f"(before that, {each})" for each in settled)))
    return Report(message, {"verdict": None, "message": message}, news=bool(settled))


def _is_pending(context: Context, journal: Journal, challenger: Challenger) -> bool:
    """Whether this holdout has not judged the challenger yet, or has and was interrupted before the swap."""
    serving = registry.served(context.config.models)
    champion = serving.version if serving is not None else None
    if challenger.refused:
        rows = known_rows(context, challenger.version, champion)
        unknown = challenger.refused == UNKNOWN_ROWS
        return rows.challenger is not None if unknown else challenger.refused != basis(context, rows)
    if not challenger.settled or (challenger.ruling is Ruling.PROMOTE and not challenger.undone):
        return True
    stamp = stamp_of(context.config.promotion.holdout)
    return journal.recorded_for_file(stamp, champion, challenger.version, question(context)) is None


def _reject(context: Context, journal: Journal, reason: str) -> Report:
    challenger = journal.past().challenger
    if challenger is None:
        raise RetrainError("no challenger waits, so there is none to reject")
    journal.append(Rejected(challenger.version, reason), context.clock())
    message = f"rejected {short(challenger.version)}: {reason}; the champion stays and training is free again"
    return Report(message, {"rejected": challenger.version, "message": message})


def _act(case: Case, pair: Pair, judged: Judged, leaks: list[str]) -> Report:
    """Swap or leave it, and the report of that."""
    verdict, order, name = judged.verdict, case.order, _name(pair)
    by_force = f" by force ({order.forced})" if order.forced is not None else ""
    wins = verdict.ruling is Ruling.PROMOTE or order.forced is not None
    why = ". ".join((f"recorded verdict: {verdict.message}" if judged.repeated else verdict.message, *leaks))
    if pair.champion is not None and judged.champion is None:
        why = f"the champion could not be scored, so nothing was compared: {why}"
    ruling = "rejected" if verdict.ruling is Ruling.REJECT else verdict.ruling
    if order.dry_run:
        would = f"would be promoted{by_force}" if wins else f"would not be promoted ({ruling})"
        is_look = not judged.repeated and verdict.challenger_score is not None
        counts = ". Nothing was changed, but the look counts; promote will not need another" if is_look else ""
        return _report(pair, judged, order, f"dry run, {name} {would}: {why}{counts}")
    if not wins:
        stays = "the champion stays" if pair.champion is not None else "nothing serves yet"
        return _report(pair, judged, order, f"{ruling} {name}, {stays}: {why}")
    reason, forced = order.forced or verdict.message, order.forced is not None
    intent = SwapStarted(Swap.PROMOTION, pair.challenger, pair.champion, reason, forced)
    hand_over(case.context, case.journal, intent, case.lock_fd)
    trial = _on_trial(case)
    return _report(pair, judged, order, f"promoted {name}{by_force}: {why}{trial}", promoted=True)


def _name(pair: Pair) -> str:
    """The challenger's version, and the file's name where a person gave one."""
    given = pair.file_given
    return short(pair.challenger) + (f" ({given})" if given is not None else "")


def _on_trial(case: Case) -> str:
    """The sentence of the probation that begins; empty without one."""
    probation, trial = case.context.config.promotion.probation, case.journal.past().trial
    if probation is None:
        return ""
    if trial is None:
        return ". It is not on probation, since no live F1 of another champion is known to compare with"
    windows = case.context.config.triggers.consecutive
    in_a_row = f" in {counted(windows, 'window')} in a row" if windows > 1 else ""
    beyond = ", and its windows together show it beyond chance" if trial.old is not None else ""
    return (
        f". It is on probation for {duration(probation)}: if its live F1 falls below the {trial.f1:.3f} that"
        f" {short(trial.before)} showed last{in_a_row}{beyond}, retrain check rolls back"
    )


def _report(pair: Pair, judged: Judged, order: Order, message: str, *, promoted: bool = False) -> Report:
    verdict = judged.verdict
    champion = {"version": pair.champion, "score": verdict.champion_score} if pair.champion is not None else None
    data = {
        "verdict": verdict.ruling,
        "message": message,
        "promoted": promoted,
        "dry_run": order.dry_run,
        "forced": order.forced is not None,
        "metric": verdict.metric,
        "rows": verdict.rows,
        "discordant": verdict.discordant,
        "champion": champion,
        "challenger": {"version": pair.challenger, "score": verdict.challenger_score},
        "difference": verdict.difference,
        "standard_error": verdict.standard_error,
        "interval": list(verdict.interval) if verdict.interval is not None else None,
        "alpha": verdict.alpha,
        "look": verdict.look,
        "detectable": verdict.detectable,
        "slices": [
            {"column": each.column, "value": "" if each.value is None else str(each.value), "rows": each.rows}
            | {"difference": each.difference, "worse": each.worse}
            for each in verdict.slices
        ],
    }
    wins = promoted or (order.dry_run and order.forced is not None)
    text = message if order.if_pending else _a_line_a_sentence(message)  # cron's mail has one line a change
    return Report(text, data, Exit.DONE if wins else EXIT[verdict.ruling])


def _a_line_a_sentence(message: str) -> str:
    """The message as a person reads it on a screen."""
    text = re.sub(r"\. (?=[A-Z0-9])", ".\n  ", message)
    return f"{text}." if "\n" in text else text
