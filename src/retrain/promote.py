"""`retrain promote`: compare challenger and champion on the holdout; swap only if the challenger is really better."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from retrain.context import Context
from retrain.core.events import UNKNOWN_ROWS, Judged, NotJudged, Rejected, Swap, SwapStarted
from retrain.core.judge import judge, leakage, next_look
from retrain.core.past import PROMOTION, Challenger, Past
from retrain.core.rules import Gate
from retrain.core.text import counted, duration, moment, short
from retrain.core.verdicts import Leaked, Ruling, Tally
from retrain.effects import evaluation, files, lock, registry
from retrain.effects.journal import Journal, open_journal
from retrain.errors import BusyError, Exit, Report, RetrainError
from retrain.swap import SwapUndoneError, current, hand_over, settle

TRAINED, KEPT = "training ", "versions"
"""How the source of a challenger begins that a training left; that of one which was kept."""


@dataclass(frozen=True, slots=True)
class Options:
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
class Case:
    """One promotion at work, with the lock held."""

    context: Context
    journal: Journal
    options: Options
    lock_fd: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Who is compared: versions, and the files that hold these very bytes. `source` says whence the challenger."""

    challenger: str
    challenger_file: Path
    champion: str | None
    champion_file: Path | None
    source: str

    @property
    def file_given(self) -> str | None:
        """The name of the challenger's file, where a person gave one."""
        return None if self.source == KEPT or self.source.startswith(TRAINED) else Path(self.source).name


def stamp_of(file: Path) -> str:
    """What changes when the file, the holdout say, is touched."""
    found = files.stamp(file)
    if found is None:
        raise RetrainError(f"{file}: is not there, or cannot be read (is it promotion.holdout?)")
    return ":".join(map(str, found))


class RefusedError(RetrainError):
    """A training has seen the holdout, or nobody knows whether it has; `because` is all that this hangs on."""

    def __init__(self, message: str, version: str, because: str) -> None:
        super().__init__(f"refused: {message}")
        self.version, self.because = version, because


@dataclass(frozen=True, slots=True)
class KnownRows:
    """The hashes of the rows that each side was trained on, where leakage is checked and they are known."""

    challenger: Path | None = None
    champion: Path | None = None

    @property
    def stamp(self) -> str:
        """What changes when one of them becomes known or is known anew; empty where none is."""
        return ", ".join(stamp_of(path) for path in (self.challenger, self.champion) if path is not None)


def known_rows(context: Context, challenger: str, champion: str | None) -> KnownRows:
    """The files of the rows that both were trained on."""
    models = context.config.models
    if context.config.training.data is None:
        return KnownRows()
    of_champion = registry.rows_of(models, champion) if champion is not None else None
    return KnownRows(registry.rows_of(models, challenger), of_champion)


def basis(context: Context, rows: KnownRows) -> str:
    """All that a refusal hangs on: with another of these it must be asked anew."""
    promotion = context.config.promotion
    return f"{stamp_of(promotion.holdout)}; up to {promotion.max_leakage}; {rows.stamp}"


def told_of_leakage(case: Case, pair: Pair, leaked: Leaked, rows: int, known: KnownRows) -> list[str]:
    """What is to be told of holdout rows that a training has seen. Raises RefusedError where that forbids a verdict."""
    config, forced = case.context.config, case.options.forced is not None
    if config.training.data is None:
        return []
    too_much = leakage(leaked, rows, config.promotion.max_leakage)
    if too_much is not None and not forced:
        raise RefusedError(too_much, pair.challenger, basis(case.context, known))
    if leaked.challenger is None and pair.challenger in case.journal.past().trained and not forced:
        why = (
            f"it is not known on which rows challenger {short(pair.challenger)} was trained (training.data was not set,"
            " or could not be read, when its training ended), so the holdout may be among them: train anew"
        )
        raise RefusedError(why, pair.challenger, UNKNOWN_ROWS)
    sides = {"challenger": leaked.challenger, "champion": leaked.champion if pair.champion is not None else 0}
    unknown = [side for side, count in sides.items() if count is None]
    told = [f"Mind that {too_much}"] if too_much is not None else []
    if unknown:
        told.append(f"Leakage was not checked for the {' and the '.join(unknown)}, whose training rows are not known")
    return told


EXIT = {Ruling.PROMOTE: Exit.DONE, Ruling.REJECT: Exit.REJECTED, Ruling.INCONCLUSIVE: Exit.INCONCLUSIVE}


def promote(context: Context, options: Options) -> Report:
    """The report of a comparison, and of the swap that followed it."""
    with open_journal(context.config.state) as journal:
        if not options.if_pending:
            return _promote(context, journal, options)
        challenger = journal.past().challenger
        try:
            current(context, journal)
            if challenger is None or not _is_pending(context, journal, challenger):
                return _nothing_waits(())
            return _promote(context, journal, options)
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


def _promote(context: Context, journal: Journal, options: Options) -> Report:
    registry.refuse_open_doors(context.config.models)
    current(context, journal)
    with lock.hold(context.config.state, "promote", context.clock()) as lock_fd:
        settled = () if options.dry_run else settle(context, journal, lock_fd)
        if options.rejected is not None:
            return _reject(context, journal, options.rejected)
        waiting = journal.past().challenger
        # Whoever held the lock until now may have judged it, or what was settled was its promotion.
        if options.if_pending and (waiting is None or not _is_pending(context, journal, waiting)):
            return _nothing_waits(settled)
        case = Case(context, journal, options, lock_fd)
        pair = pair_of(case)
        try:
            judged, leaks = judged_on(case, pair)
        except RefusedError as refused:
            if not options.dry_run:
                journal.append(
                    NotJudged(refused.version, context.secrets.scrub(str(refused)), refused.because), context.clock()
                )
            raise
        journal.append(judged, context.clock())
        report = _act(case, pair, judged, leaks)
    told = (report.message, *(f"(before that, {each})" for each in settled))
    return replace(report, message=(" " if options.if_pending else "\n  ").join(told))


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
    verdict, options, name = judged.verdict, case.options, _name(pair)
    by_force = f" by force ({options.forced})" if options.forced is not None else ""
    wins = verdict.ruling is Ruling.PROMOTE or options.forced is not None
    why = ". ".join((f"recorded verdict: {verdict.message}" if judged.repeated else verdict.message, *leaks))
    if pair.champion is not None and judged.champion is None:
        why = f"the champion could not be scored, so nothing was compared: {why}"
    ruling = "rejected" if verdict.ruling is Ruling.REJECT else verdict.ruling
    if options.dry_run:
        would = f"would be promoted{by_force}" if wins else f"would not be promoted ({ruling})"
        is_look = not judged.repeated and verdict.challenger_score is not None
        counts = ". Nothing was changed, but the look counts; promote will not need another" if is_look else ""
        return _report(pair, judged, options, f"dry run, {name} {would}: {why}{counts}")
    if not wins:
        stays = "the champion stays" if pair.champion is not None else "nothing serves yet"
        return _report(pair, judged, options, f"{ruling} {name}, {stays}: {why}")
    reason, forced = options.forced or verdict.message, options.forced is not None
    intent = SwapStarted(Swap.PROMOTION, pair.challenger, pair.champion, reason, forced)
    hand_over(case.context, case.journal, intent, case.lock_fd)
    trial = _on_trial(case)
    return _report(pair, judged, options, f"promoted {name}{by_force}: {why}{trial}", promoted=True)


def _name(pair: Pair) -> str:
    """The challenger's version, and the file's name where a person gave one."""
    given = pair.file_given
    return short(pair.challenger) + (f" ({given})" if given is not None else "")


def _on_trial(case: Case) -> str:
    """The sentence of the probation that begins; empty without one."""
    probation, trial = case.context.config.promotion.probation, case.journal.past().probation
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


def _report(pair: Pair, judged: Judged, options: Options, message: str, *, promoted: bool = False) -> Report:
    verdict = judged.verdict
    champion = {"version": pair.champion, "score": verdict.champion_score} if pair.champion is not None else None
    data = {
        "verdict": verdict.ruling,
        "message": message,
        "promoted": promoted,
        "dry_run": options.dry_run,
        "forced": options.forced is not None,
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
    wins = promoted or (options.dry_run and options.forced is not None)
    text = message if options.if_pending else _a_line_a_sentence(message)  # cron's mail has one line a change
    return Report(text, data, Exit.DONE if wins else EXIT[verdict.ruling])


def _a_line_a_sentence(message: str) -> str:
    """The message as a person reads it on a screen."""
    text = re.sub(r"\. (?=[A-Z0-9])", ".\n  ", message)
    return f"{text}." if "\n" in text else text


def pair_of(case: Case) -> Pair:
    """The challenger that was ordered and the champion that serves. RetrainError where there is nothing to compare."""
    past, options, models = case.journal.past(), case.options, case.context.config.models
    challenger, challenger_file, source = _challenger(case.context, past, options)
    if challenger in past.banned and options.forced is None:
        raise RetrainError(
            f"{short(challenger)} was in service and was rolled back (retrain status says when), so it is not promoted"
            " again; promote --force --reason TEXT promotes it anyway"
        )
    serving = registry.served(models)
    if serving is None:
        if past.served is not None and options.forced is None:
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


def _challenger(context: Context, past: Past, options: Options) -> tuple[str, Path, str]:
    """The challenger's version, the file of its bytes, and whence it came."""
    models = context.config.models
    if options.challenger is None:
        return _trained_challenger(context, past)
    path = Path(options.challenger)
    if not files.is_there(path):
        version = registry.find(models, options.challenger)
        return version, registry.verify(models, version), KEPT
    registry.check_format(models, path)
    if options.dry_run:
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
        dry_run=case.options.dry_run,
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
    return replace(known, repeated=True, dry_run=case.options.dry_run, source=pair.source, sketch=())


def _score(case: Case, pair: Pair, rows: KnownRows) -> tuple[Tally, KnownRows]:
    """Both models on the holdout, and the known rows that were of use.

    Only a person's --force goes past a champion that cannot be scored, or known rows of the challenger that are no use.
    """
    options, models = case.options, case.context.config.models
    promotion, directory = case.context.config.promotion, case.context.config.training.directory
    try:
        if pair.champion is not None and pair.champion_file != models.champion:  # an ordinary file is what it is
            registry.verify(models, pair.champion)
        tally = evaluation.compare(
            pair.champion_file,
            pair.challenger_file,
            promotion,
            directory,
            options.progress,
            models=models,
            known_challenger=rows.challenger,
            known_champion=rows.champion,
        )
    except RetrainError as error:
        side = error.side if isinstance(error, evaluation.Unscorable) else "champion"
        if side == "training rows" and options.forced is None:
            raise RefusedError(str(error), pair.challenger, basis(case.context, rows)) from error
        if side == "training rows":
            return _score(case, pair, KnownRows(None, rows.champion))
        if options.forced is None or pair.champion is None or side != "champion":
            raise
        tally = evaluation.compare(None, pair.challenger_file, promotion, directory, options.progress, models=models)
        rows = KnownRows()
    if registry.identify(pair.challenger_file) != pair.challenger:
        raise RetrainError(f"{pair.challenger_file}: was changed while it was scored; try again")
    return tally, rows


def question(context: Context) -> str:
    """All that shapes the answer besides the two models and the rows."""
    promotion = context.config.promotion
    asked = f"{context.config.gate.question}; target {promotion.target}; dtypes {sorted(promotion.dtypes.items())}"
    return asked + (f"; slices {', '.join(promotion.slices)}" if promotion.slices else "")
