"""`retrain promote`: compare challenger and champion on the holdout, and swap only if the challenger is better."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from retrain.config.schema import HoldoutKind, Remote
from retrain.context import Context
from retrain.core import explain
from retrain.core.decide import barrier
from retrain.core.events import UNKNOWN_ROWS, Actor, Judged, NotJudged, Rejected, Swap, SwapStarted
from retrain.core.evidence import latest
from retrain.core.fold import as_of
from retrain.core.judge import RowKey, beside_live, judge, next_comparison, row_keys
from retrain.core.past import PROMOTION, Challenger, Past, incident_of
from retrain.core.text import counted, duration, moment, one_line, short
from retrain.core.verdicts import Ruling, Tally
from retrain.effects import evaluation, files, lock, registry
from retrain.effects.journal import Journal
from retrain.errors import Exit, Report, RetrainError, failure
from retrain.page import render
from retrain.swap import PATIENCE, OvertakenError, SwapUndoneError, current, journal_of, settle, swap

_SHOWN_CELLS = 64
"""More cells of a tally are not recorded: no person reads the confusion matrices of more than four classes."""


class Options(Struct, frozen=True):
    """The flags.

    `challenger` is a path or the prefix of a version (None: what the last training left); `forced` and `rejected` are
    the reasons of a person. `progress` is called with the share of the holdout that is scored, `on_wait` with who
    holds the lock. `report` is the file of the page with the comparison.
    """

    challenger: str | None = None
    dry_run: bool = False
    if_pending: bool = False
    forced: str | None = None
    rejected: str | None = None
    progress: Callable[[float], None] = lambda _share: None
    on_wait: Callable[[lock.Holder], None] = lambda _holder: None
    report: Path | None = None

    def actor(self, context: Context) -> Actor | None:
        """The person who asks; None where cron does."""
        return None if self.if_pending else context.actor


class Contest(Struct, frozen=True):
    """Which bytes compete, and on which rows: versions, and the files that hold these very bytes.

    There is no champion where none serves. `source` says where the challenger is from, `given` is the name of its file
    where a person gave one. `rows` are the hashes of the rows that challenger and champion were trained on, where they
    are known. `dated` is the column with the time of a holdout row, and the epoch seconds at which the champion was
    made, where rows must be newer.
    """

    challenger: str
    challenger_file: Path
    holdout: Path | Remote
    source: str
    given: str = ""
    champion: str | None = None
    champion_file: Path | None = None
    rows: tuple[Path | None, Path | None] = (None, None)
    dated: tuple[str, float] | None = None


def promote(context: Context, options: Options) -> Report:
    """The report of a comparison, and of the swap that followed it."""
    config, now = context.config, context.clock()
    if options.report is not None:
        render.check("--report", options.report, render.HTML, render.MARKDOWN)
    with journal_of(context) as journal:
        try:
            current(context, journal)
            if options.if_pending and (idle := _idle(context, journal, options, now)) is not None:
                return idle
            registry.refuse_unsafe(config.models)
            wait = timedelta() if options.if_pending else PATIENCE
            with lock.hold(config.state, "promote", now, wait=wait, on_wait=options.on_wait) as lock_fd:
                settled = () if options.dry_run else settle(context, journal, lock_fd, now)
                pause = journal.past().paused(now) if not options.if_pending else None
                return _promote(context, journal, options, lock_fd, now).after(settled).noting(pause)
        except RetrainError as error:
            if not options.if_pending or isinstance(error, SwapUndoneError):
                raise
            if isinstance(error, lock.HeldError | OvertakenError):
                return failure(str(error), error.exit_code, news=False)
            waiting = journal.past().challenger
            event = NotJudged(waiting.version if waiting is not None else "", str(error))
            return _not_judged(context, journal, event, options, context.clock())


def _promote(context: Context, journal: Journal, options: Options, lock_fd: int, now: datetime) -> Report:
    """Judge what was asked for, record the verdict, and swap if it is better; with the lock held."""
    if options.rejected is not None:
        return _reject(context, journal, options.rejected, now)
    # Who had the lock until now may have judged it, or what was settled was its promotion.
    if (idle := _idle(context, journal, options, now) or _await(context, journal, options, now)) is not None:
        return idle
    with _copied(context, admit(context, journal.past(), options), options) as contest:
        outcome: Judged | NotJudged | None = _recorded(context, journal, contest)
        if outcome is None:
            lock.describe(lock_fd, "comparing on the holdout")
            outcome, now = _compare(context, journal, contest, options), context.clock()  # that may have taken an hour
        past = journal.past()
        if isinstance(outcome, Judged) and options.forced is None:
            outcome = _refusal(context, past, contest, outcome) or outcome
        if isinstance(outcome, NotJudged):
            return _not_judged(context, journal, outcome, options, now)
        is_same = outcome.champion is not None and contest.champion == past.served
        live = latest(past) if is_same and context.config.promotion.rows is not None else None
        verdict = beside_live(outcome.verdict, live)
        by, forced = options.actor(context), options.forced is not None
        judged = replace(outcome, verdict=verdict, dry_run=options.dry_run, source=contest.source, by=by)
        past = journal.append(judged, now)
        if contest.given and not options.dry_run:  # no sooner: no crash leaves a version that the journal does not know
            registry.keep(context.config.models, Path(contest.source), contest.challenger, contest.challenger_file)
    if options.if_pending and (pause := past.paused(now)) is not None:  # which a person began meanwhile
        return _quiet(f"compared, and nothing is promoted by itself: {pause}")
    wins, note = verdict.ruling is Ruling.PROMOTE or forced, ""
    if wins and not options.dry_run:
        reason = options.forced or explain.because(verdict, context.config.gate)[0]
        intent = SwapStarted(Swap.PROMOTION, contest.challenger, contest.champion, reason, forced, by=by)
        note = swap(context, journal, intent, lock_fd, now)
    return _report(context, journal.past(), contest, judged, options, wins=wins).noting(note)


# ---------------------------------------------------------------- which bytes compete


def _idle(context: Context, journal: Journal, options: Options, now: datetime) -> Report | None:
    """The report of why nothing is compared; None where a challenger is to be judged."""
    past = journal.past()
    if options.if_pending and (pause := past.paused(now)) is not None:
        return _quiet(f"nothing is promoted by itself: {pause}")
    if options.if_pending and not _is_pending(context, journal):
        return _quiet("no challenger waits")
    if options.challenger is None and past.challenger is None:
        judges = f"retrain promote {context.config.models.challenger} judges a file"
        return failure(f"no challenger waits: no training has left one since the last promotion ({judges})")
    return None


def _is_pending(context: Context, journal: Journal) -> bool:
    """Whether a challenger waits that this holdout has not judged, or that has won and was not put in service."""
    waiting, serving = journal.past().challenger, registry.served(context.config.models)
    champion = serving.version if serving is not None else None
    if waiting is None:
        return False
    if not waiting.settled or (waiting.ruling is Ruling.PROMOTE and not waiting.undone):
        return True
    holdout, rows = holdout_of(context, waiting.version), _rows(context, waiting.version, champion)
    if waiting.refused:
        is_unknown = waiting.refused == UNKNOWN_ROWS
        return rows[0] is not None if is_unknown else waiting.refused != _basis(context, holdout, rows)
    stamp = files.stamp_of_rows(holdout)
    return journal.recorded_for_file(stamp, champion, waiting.version, context.config.question) is None


def admit(context: Context, past: Past, options: Options) -> Contest:
    """The challenger that was asked for, or waits, and the champion that serves.

    Raises RetrainError where there is nothing to compare, or a champion that served is gone.
    """
    models, name, waiting = context.config.models, options.challenger, past.challenger
    contest = _waiting(context, waiting) if name is None and waiting is not None else _named(context, name or "")
    challenger, serving = contest.challenger, registry.served(models)
    if challenger in past.banned and options.forced is None:
        why = f"{short(challenger)} was in service and was rolled back (retrain status says when)"
        raise RetrainError(f"{why}, so it is not promoted again", "promote --force --reason TEXT promotes it anyway")
    if serving is None and past.served is not None and options.forced is None:
        why = f"{models.champion} is gone, and the journal says that {short(past.served)} served"
        raise RetrainError(why, "retrain rollback restores it; promote --force --reason TEXT goes on without it")
    champion = None if serving is None else serving.version or registry.identify(serving.path)
    if champion == challenger:
        same = f"challenger and champion are the same file, {short(challenger)}"
        raise RetrainError(f"{same}: there is nothing to compare")
    is_fresh, dated = context.config.promotion.holdout is HoldoutKind.FRESH, None
    if is_fresh and serving is not None and serving.made_at is not None:
        dated = context.config.monitor.timestamp, serving.made_at.timestamp()
    rows = _rows(context, challenger, champion)
    return replace(contest, champion=champion, champion_file=serving and serving.path, rows=rows, dated=dated)


def _waiting(context: Context, waiting: Challenger) -> Contest:
    """The challenger that the last training left, without a champion yet."""
    models, version, run = context.config.models, waiting.version, waiting.run
    left = registry.model_file(models, models.challenger)
    if left.exists() and (found := registry.identify(left)) != version:
        why = f"{models.challenger} is not what training {run} left: it is {short(found)} and was {short(version)}"
        raise RetrainError(why, f"name the file or {short(version)} to judge one of them")
    return Contest(version, registry.verify(models, version), holdout_of(context, version), f"training {run}")


@contextmanager
def _copied(context: Context, contest: Contest, options: Options) -> Iterator[Contest]:
    """The contest with a copy of a file that was named, to keep what is judged; a rehearsal keeps nothing."""
    if not contest.given or options.dry_run:
        yield contest
        return
    with registry.copied(context.config.models, contest.challenger_file) as (version, copy):
        if version != contest.challenger:
            raise RetrainError(f"{contest.challenger_file}: was changed while it was read; try again")
        yield replace(contest, challenger_file=copy)


def _named(context: Context, name: str) -> Contest:
    """The challenger that a person named: a file, or the prefix of a kept version."""
    models, path = context.config.models, Path(name)
    if files.is_there(path):
        file, beside = registry.model_file(models, path), registry.beside(path, registry.HOLDOUT)
        registry.check_format(models, file)
        version = registry.identify(file)
        rows = holdout_of(context, version, beside if beside.is_file() else None)
        return Contest(version, file, rows, str(path.absolute()), path.name)
    try:
        version = registry.find(models, name)
    except RetrainError as error:
        raise RetrainError(f"{name}: no such file, and {error}") from error
    return Contest(version, registry.verify(models, version), holdout_of(context, version), "versions")


def holdout_of(context: Context, challenger: str, beside: Path | None = None) -> Path | Remote:
    """The rows that this challenger is judged on: those configured, or its own, `beside` it or kept with it.

    Raises RetrainError where it should have rows of its own and has none.
    """
    holdout = context.config.promotion.holdout
    own = beside if isinstance(holdout, HoldoutKind) else None
    if (rows := own or registry.holdout_of(context.config.models, holdout, challenger)) is not None:
        return rows
    why = f"{short(challenger)} has no rows to be judged on: no training under promotion.holdout: {holdout} left it"
    raise RetrainError(why, "train anew: retrain check --force --reason TEXT")


def _await(context: Context, journal: Journal, options: Options, now: datetime) -> Report | None:
    """The report on a challenger for which too few rows have come after its training; None where it can be judged.

    Once the rows are complete they are kept with it; after `promotion.live.give_up` it is given up.
    """
    config, waiting, live = context.config, journal.past().challenger, context.config.promotion.live
    if config.promotion.holdout is not HoldoutKind.LIVE or options.challenger is not None or waiting is None:
        return None
    if registry.holdout_of(config.models, HoldoutKind.LIVE, waiting.version) is not None:
        return None
    name, found = short(waiting.version), evaluation.Arrived(0, 0, complete=False)
    earliest = waiting.at + config.monitor.window * live.windows  # a whole window has begun after the training
    if now >= earliest or not options.if_pending:  # cron asks often, and a log is read whole
        with tempfile.TemporaryDirectory(prefix="retrain-") as directory:
            rows = Path(directory) / "holdout.parquet"
            found = evaluation.arrived(config, waiting.at, now, rows)
            if found.complete:
                registry.attach(config.models, waiting.version, registry.HOLDOUT, rows)
                return None
    gives_up, code, news = waiting.at + live.give_up, Exit.INCONCLUSIVE, True
    came = f"{counted(found.rows, 'labelled row')} in {counted(found.windows, 'whole window')} came after its training"
    so_far = f"{came}, {live.min_rows:,} in {live.windows:,} are needed (promotion.live){found.lost}"
    message = f"gave {name} up after {duration(live.give_up)}, the champion stays: {so_far}"
    if now < gives_up:
        message = f"no decision for {name}: {so_far}; it waits until {moment(gives_up)}"
        code, news = Exit.DONE if options.if_pending else code, not options.if_pending
    elif not options.dry_run:
        why = f"given up after {duration(live.give_up)}: {so_far}"
        journal.append(Rejected(waiting.version, why, given_up=True), now)
    data = {"verdict": None, "challenger": {"version": waiting.version}, "rows": found.rows, "windows": found.windows}
    return Report(message, {**data, "message": message}, code, news)


# ---------------------------------------------------------------- the verdict


def _recorded(context: Context, journal: Journal, contest: Contest) -> Judged | None:
    """The recorded verdict, where the same question was asked on this untouched holdout and the same training rows."""
    stamp = files.stamp_of_rows(contest.holdout)
    known = journal.recorded_for_file(stamp, contest.champion, contest.challenger, context.config.question)
    if known is None or known.known_rows != files.stamps(*contest.rows):
        return None
    return replace(known, repeated=True, sketches=())


def _compare(context: Context, journal: Journal, contest: Contest, options: Options) -> Judged | NotJudged:
    """The verdict of a comparison, or why there is none. A recorded verdict on the same rows costs no comparison."""
    config = context.config
    stamp = files.stamp_of_rows(contest.holdout)
    scored = _score(context, contest, options, row_keys(journal.ledger()))
    if isinstance(scored, NotJudged):
        return scored
    tally, rows = scored
    if files.stamp_of_rows(contest.holdout) != stamp:
        raise RetrainError(f"{contest.holdout}: was changed while the models were scored on it; try again")
    if registry.identify(contest.challenger_file) != contest.challenger:
        raise RetrainError(f"{contest.challenger_file}: was changed while it was scored; try again")
    # A champion that could not be scored was not compared: this must never be taken for a win over it.
    champion = None if any(cell.champion is None for cell in tally.cells) else contest.champion
    asked, on_these = (champion, contest.challenger, config.question), list(journal.comparisons_on(tally.holdout))
    known = next((it for it in on_these if (it.champion, it.challenger, it.question) == asked), None)
    if known is not None:
        return replace(known, file=stamp, leaked=tally.leaked, known_rows=rows, repeated=True, sketches=())
    number = next_comparison(tally, journal.ledger(), config.gate.holdout_uses)
    is_sketched = any(each.sketches for each in on_these)
    shown = tally.cells if len(tally.cells) <= _SHOWN_CELLS else ()
    return Judged(
        challenger=contest.challenger,
        champion=champion,
        holdout=tally.holdout,
        question=config.question,
        file=stamp,
        verdict=replace(judge(tally, config.gate, number), models=tally.models, cells=shown),
        sketches=() if is_sketched else tally.sketches,
        classes=tally.classes,
        leaked=tally.leaked,
        known_rows=rows,
    )


def _score(
    context: Context, contest: Contest, options: Options, keys: Sequence[RowKey]
) -> tuple[Tally, str] | NotJudged:
    """Both models on the holdout and the stamp of the training rows that were used; or why that cannot be.

    Only the --force of a person goes past training rows that cannot be used, and past a champion that cannot be scored.
    """
    models = context.config.models
    try:
        if contest.champion is not None and contest.champion_file not in (None, models.champion):
            registry.verify(models, contest.champion)  # an ordinary file is what it is
        tally = evaluation.compare(
            *(context.config, contest.champion_file, contest.challenger_file, contest.holdout, options.progress),
            named=registry.model_file(models, Path(contest.source)) if contest.given else contest.challenger_file,
            known_challenger=contest.rows[0],
            known_champion=contest.rows[1],
            keys=keys,
            dated=contest.dated,
            scrub=context.secrets.scrub,
        )
    except RetrainError as error:
        side = error.side if isinstance(error, evaluation.Unscorable) else "champion"
        if options.forced is not None and side == "training rows":
            return _score(context, replace(contest, rows=(None, contest.rows[1])), options, keys)
        if options.forced is not None and side == "champion" and contest.champion_file is not None:
            return _score(context, replace(contest, champion_file=None, rows=(None, None)), options, keys)
        refused = _basis(context, contest.holdout, contest.rows) if side == "training rows" else ""
        return NotJudged(contest.challenger, f"refused: {error}" if refused else str(error), refused)
    return tally, files.stamps(*contest.rows)


def _refusal(context: Context, past: Past, contest: Contest, judged: Judged) -> NotJudged | None:
    """Why leakage forbids this verdict; None where it does not, or is not checked."""
    most, challenger = context.config.promotion.max_leakage, contest.challenger
    if seen := explain.leakage(judged.leaked, judged.verdict.rows, most):
        remedy = "keep the holdout out of the training data and train anew, or take a fresh holdout"
        return NotJudged(challenger, f"refused: {seen} ({remedy})", _basis(context, contest.holdout, contest.rows))
    if context.config.training.data is not None and judged.leaked.challenger is None and challenger in past.trained:
        why = f"it is not known on which rows challenger {short(challenger)} was trained, so the holdout"
        why += " may be among them: training.data was not set, or could not be read, when its training ended"
        return NotJudged(challenger, f"refused: {why} (train anew)", UNKNOWN_ROWS)
    return None


def _rows(context: Context, challenger: str, champion: str | None) -> tuple[Path | None, Path | None]:
    """The files with the hashes of the rows that both were trained on, where leakage is checked and they are known."""
    models = context.config.models
    if not context.config.checks_leakage:
        return None, None
    return registry.attached(models, challenger, registry.ROWS), registry.attached(models, champion, registry.ROWS)


def _basis(context: Context, holdout: Path | Remote, rows: Sequence[Path | None]) -> str:
    """All that a refusal depends on: with another of these it must be asked anew."""
    stamps = ", ".join(filter(None, (files.stamp_of_rows(holdout), files.stamps(*rows))))
    return f"{stamps}; up to {context.config.promotion.max_leakage}"


# ---------------------------------------------------------------- reports


_TONES = {"promoted": "green", "rejected": "red", "inconclusive": "yellow"}
EXIT = {Ruling.PROMOTE: Exit.DONE, Ruling.REJECT: Exit.REJECTED, Ruling.INCONCLUSIVE: Exit.INCONCLUSIVE}


def _quiet(message: str) -> Report:
    """The report of why cron compares nothing, which is no news."""
    return Report(message, {"verdict": None, "message": message}, news=False)


def _not_judged(context: Context, journal: Journal, event: NotJudged, options: Options, now: datetime) -> Report:
    """The report of why there is no verdict. A refusal is recorded; another cause is reported once under cron."""
    recorded, repeat_after = context.secrets.scrub(event.message), context.config.notifications.repeat_after
    incident = incident_of(PROMOTION, recorded)  # of the cause as the journal holds it
    is_cron = options.if_pending and not event.refused
    news = not is_cron or journal.past().is_news(incident, now, repeat_after)
    if news and (is_cron or event.refused) and not options.dry_run:
        journal.append(replace(event, by=options.actor(context)), now)
    return failure(event.message, news=news)


def _reject(context: Context, journal: Journal, reason: str, now: datetime) -> Report:
    """Discard the waiting challenger, and say what the next check may do."""
    challenger = journal.past().challenger
    if challenger is None:
        return failure("no challenger waits, so there is none to reject")
    past = as_of(journal.append(Rejected(challenger.version, reason, by=context.actor), now), None, now)
    held = barrier(past, context.config.triggers, now)
    then = "the next check may train" if held is None else f"the next check trains nothing: {held.message}"
    message = f"rejected {short(challenger.version)}: {one_line(reason)}; the champion stays, {then}"
    return Report(message, {"rejected": challenger.version, "message": message})


def _report(  # noqa: PLR0913  (what was compared, and what came of it)
    context: Context, past: Past, contest: Contest, judged: Judged, options: Options, *, wins: bool
) -> Report:
    """The report of a verdict, and of the swap if there was one."""
    config, gate, forced = context.config, context.config.gate, options.forced
    verdict = explain.disclosed(judged.verdict, gate, wins=wins and (forced is None or not options.dry_run))
    opposed, most = contest.champion is not None, config.promotion.max_leakage if config.checks_leakage else None
    probation = config.promotion.probation if wins and not judged.dry_run else None
    head = explain.head(judged, contest.given, forced, opposed=opposed, wins=wins)
    dated = contest.dated and contest.dated[0]
    notes = [*explain.notes(judged, past, gate, most, probation, opposed=opposed, dated=dated)]
    message = explain.line(head, verdict, gate, notes)
    data = {
        "message": message,
        "promoted": wins and not options.dry_run,
        "dry_run": options.dry_run,
        "forced": forced is not None,
        **explain.fields(verdict, contest.champion, contest.challenger),
        **({"older_rows": judged.leaked.older} if contest.dated is not None else {}),
    }
    screen = "" if options.if_pending else explain.screen(head, verdict, gate, notes, forced=forced is not None)
    done = Report(message, data, Exit.DONE if wins else EXIT[verdict.ruling], screen=screen, tones=_TONES)
    if options.report is None:
        return done
    from retrain.page.comparison import comparison

    shown = comparison(
        *(config, judged, verdict, context.clock()), head=head, notes=notes, wins=wins, forced=forced is not None
    )
    return done.noting(render.written(options.report, "comparison", context.secrets.scrub, it=shown))
