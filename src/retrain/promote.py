"""`retrain promote`: compare challenger and champion on the holdout; swap only if the challenger is really better."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from retrain.context import Context
from retrain.core.events import Judged, NotJudged, Rejected, Swap, SwapStarted
from retrain.core.judge import judge
from retrain.core.past import PROMOTION, Challenger, Past
from retrain.core.records import Ruling, Tally
from retrain.core.words import short
from retrain.effects import evaluation, lock, registry
from retrain.effects.journal import Journal, open_journal
from retrain.errors import BusyError, Exit, RetrainError
from retrain.handover import SwapUndoneError, hand_over, settle
from retrain.report import Report

EXIT = {Ruling.PROMOTE: Exit.DONE, Ruling.REJECT: Exit.REJECTED, Ruling.INCONCLUSIVE: Exit.INCONCLUSIVE}


@dataclass(frozen=True, slots=True)
class Order:
    """How the command was given.

    `challenger` is a path or a version's prefix (None: the one that training left); `forced` and `rejected` are
    a person's reasons; `progress` hears the share of the holdout that is done.
    """

    challenger: str | None = None
    dry_run: bool = False
    if_pending: bool = False
    forced: str | None = None
    rejected: str | None = None
    progress: Callable[[float], None] = lambda _share: None


@dataclass(frozen=True, slots=True)
class _Pair:
    """Who is compared: versions, and the files that hold these very bytes. `source` says whence the challenger."""

    challenger: str
    challenger_file: Path
    champion: str | None
    champion_file: Path | None
    source: str


@dataclass(frozen=True, slots=True)
class _Case:
    """One promotion at work, with the lock held."""

    context: Context
    journal: Journal
    order: Order
    lock_fd: int


def promote(context: Context, order: Order) -> Report:
    """The report of a comparison, and of the swap that followed it."""
    with open_journal(context.config.state) as journal:
        if not order.if_pending:
            return _promote(context, journal, order)
        challenger = journal.past().challenger
        try:
            if challenger is None or not _is_pending(context, journal, challenger):
                return Report("no challenger waits", {"verdict": None, "message": "no challenger waits"}, news=False)
            return _promote(context, journal, order)
        except BusyError as error:
            return _failed(error, news=False)
        except SwapUndoneError as error:
            return _failed(error, news=True)
        except RetrainError as error:
            # cron will ask again and again: like a check, it tells a failure once.
            now, repeat_after = context.clock(), context.config.notifications.repeat_after
            news = journal.past().is_news(PROMOTION, now, repeat_after)
            if news:
                journal.append(NotJudged(challenger.version if challenger else "", str(error)), now)
            return _failed(error, news=news)


def _failed(error: RetrainError, *, news: bool) -> Report:
    return Report(str(error), {"error": str(error), "exit_code": error.exit_code}, error.exit_code, news)


def _promote(context: Context, journal: Journal, order: Order) -> Report:
    with lock.hold(context.config.state, "promote", context.clock()) as lock_fd:
        settled = () if order.dry_run else settle(context, journal, lock_fd)
        if order.rejected is not None:
            return _reject(context, journal, order.rejected)
        case = _Case(context, journal, order, lock_fd)
        pair = _pair(case)
        judged = _judged(case, pair)
        journal.append(judged, context.clock())
        report = _act(case, pair, judged)
    return replace(report, message="; ".join((*settled, report.message)))


def _is_pending(context: Context, journal: Journal, challenger: Challenger) -> bool:
    """Whether this holdout has not judged the challenger yet, or has and was interrupted before the swap."""
    if not challenger.settled or (challenger.ruling is Ruling.PROMOTE and not challenger.undone):
        return True
    serving = registry.served(context.config.models)
    champion = serving.version if serving is not None else None
    stamp = _stamp(context.config.promotion.holdout)
    return journal.recorded_for_file(stamp, champion, challenger.version, _question(context)) is None


def _reject(context: Context, journal: Journal, reason: str) -> Report:
    challenger = journal.past().challenger
    if challenger is None:
        raise RetrainError("no challenger waits, so there is none to reject")
    journal.append(Rejected(challenger.version, reason), context.clock())
    message = f"rejected {short(challenger.version)}: {reason}; the champion stays and training is free again"
    return Report(message, {"rejected": challenger.version, "message": message})


def _pair(case: _Case) -> _Pair:
    past, order, models = case.journal.past(), case.order, case.context.config.models
    challenger, challenger_file, source = _challenger(case.context, past, order)
    serving = registry.served(models)
    if serving is None:
        if past.served is not None and order.forced is None:
            raise RetrainError(
                f"{models.champion} is gone, and the journal says that {short(past.served)} served: retrain rollback"
                " puts it back (promote --force goes on without it)"
            )
        return _Pair(challenger, challenger_file, None, None, source)
    champion = serving.version or registry.identify(serving.path)
    if champion == challenger:
        raise RetrainError(
            f"challenger and champion are the same file, {short(challenger)}: there is nothing to compare"
        )
    return _Pair(challenger, challenger_file, champion, serving.path, source)


def _challenger(context: Context, past: Past, order: Order) -> tuple[str, Path, str]:
    """The challenger's version, the file of its bytes, and whence it came."""
    models = context.config.models
    if order.challenger is None:
        return _trained_challenger(context, past)
    path = Path(order.challenger)
    if not path.exists():
        version = registry.find(models, order.challenger)
        return version, registry.verify(models, version), "versions"
    if order.dry_run:
        return registry.identify(path), path, str(path)
    version = registry.admit(models, path)
    return version, registry.verify(models, version), str(path)


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
    return version, registry.verify(models, version), f"training {run}"


def _judged(case: _Case, pair: _Pair) -> Judged:
    """The verdict: a recorded one where the same question was asked before, else that of a new look."""
    context, journal, dry_run = case.context, case.journal, case.order.dry_run
    question, holdout = _question(context), context.config.promotion.holdout
    stamp = _stamp(holdout)
    known = journal.recorded_for_file(stamp, pair.champion, pair.challenger, question)
    if known is not None:
        return replace(known, repeated=True, dry_run=dry_run, source=pair.source)
    tally = _score(case, pair)
    if _stamp(holdout) != stamp:
        raise RetrainError(f"{holdout}: was changed while the models were scored on it; try again")
    # A champion that could not be scored was not compared: this must never be taken for a win over it.
    champion = None if any(cell.champion is None for cell in tally.cells) else pair.champion
    known = journal.recorded(tally.holdout, champion, pair.challenger, question)
    if known is not None:
        return replace(known, file=stamp, repeated=True, dry_run=dry_run, source=pair.source)
    verdict = judge(tally, context.config.gate, journal.looks(tally.holdout) + 1)
    return Judged(
        challenger=pair.challenger,
        champion=champion,
        holdout=tally.holdout,
        question=question,
        file=stamp,
        verdict=verdict,
        dry_run=dry_run,
        source=pair.source,
    )


def _score(case: _Case, pair: _Pair) -> Tally:
    """Both models on the holdout. Only a person's --force goes past a champion that cannot be scored."""
    order, models = case.order, case.context.config.models
    promotion, directory = case.context.config.promotion, case.context.config.training.directory
    try:
        if pair.champion is not None and not order.dry_run:
            registry.verify(models, pair.champion)
        tally = evaluation.compare(pair.champion_file, pair.challenger_file, promotion, directory, order.progress)
    except RetrainError as error:
        of_another = isinstance(error, evaluation.Unscorable) and error.side != "champion"
        if order.forced is None or pair.champion is None or of_another:
            raise
        tally = evaluation.compare(None, pair.challenger_file, promotion, directory, order.progress)
    if registry.identify(pair.challenger_file) != pair.challenger:
        raise RetrainError(f"{pair.challenger_file}: was changed while it was scored; try again")
    return tally


def _act(case: _Case, pair: _Pair, judged: Judged) -> Report:
    """Swap or leave it, and the report of that."""
    verdict, order, name = judged.verdict, case.order, short(pair.challenger)
    by_force = f" by force ({order.forced})" if order.forced is not None else ""
    wins = verdict.ruling is Ruling.PROMOTE or order.forced is not None
    why = f"recorded verdict: {verdict.message}" if judged.repeated else verdict.message
    if pair.champion is not None and judged.champion is None:
        why = f"the champion could not be scored, so nothing was compared: {why}"
    ruling = "rejected" if verdict.ruling is Ruling.REJECT else verdict.ruling
    if order.dry_run:
        would = f"would be promoted{by_force}" if wins else f"would not be promoted ({ruling})"
        return _report(pair, judged, order, f"dry run, {name} {would}: {why}")
    if not wins:
        stays = "the champion stays" if pair.champion is not None else "nothing serves yet"
        return _report(pair, judged, order, f"{ruling}, {stays}: {why}")
    reason, forced = order.forced or verdict.message, order.forced is not None
    intent = SwapStarted(Swap.PROMOTION, pair.challenger, pair.champion, reason, forced)
    hand_over(case.context, case.journal, intent, case.lock_fd)
    return _report(pair, judged, order, f"promoted {name}{by_force}: {why}", promoted=True)


def _report(pair: _Pair, judged: Judged, order: Order, message: str, *, promoted: bool = False) -> Report:
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
        "slices": [],
    }
    wins = promoted or (order.dry_run and order.forced is not None)
    return Report(message, data, Exit.DONE if wins else EXIT[verdict.ruling])


def _question(context: Context) -> str:
    """All that shapes the answer besides the two models and the rows."""
    promotion = context.config.promotion
    return f"{context.config.gate.question}; target {promotion.target}; dtypes {sorted(promotion.dtypes.items())}"


def _stamp(holdout: Path) -> str:
    """What changes when the holdout file is touched."""
    try:
        found = holdout.stat()
    except OSError as error:
        raise RetrainError(f"{holdout}: the holdout cannot be read: {error.strerror} (promotion.holdout)") from error
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
