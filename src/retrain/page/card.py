"""The model card of a version that was promoted: Markdown with the front matter of Hugging Face, kept beside it.

Front matter: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from retrain.config import Config
from retrain.context import Context
from retrain.core.events import Judged, Promoted, TrainingFinished, TrainingStarted
from retrain.core.explain import name_of
from retrain.core.text import duration, moment, short
from retrain.effects import registry
from retrain.effects.journal import Journal
from retrain.page.comparison import comparison
from retrain.page.render import in_markdown

_TASK = "tabular-classification"
_MOST_NOTES = 50


def keep(context: Context, journal: Journal, promoted: Promoted, at: datetime) -> str:
    """Keep the card of this version beside it; return why it could not be kept, in a clause (empty: it is)."""
    models, version = context.config.models, promoted.version
    try:
        judged = next((each for each in journal.latest_judgements() if each.challenger == version), None)
        events = [entry.event for entry in journal.turning_points(1000)]
        finished = [each for each in events if isinstance(each, TrainingFinished) and each.challenger == version]
        runs = {each.run for each in finished[:1]}
        started = [each for each in events if isinstance(each, TrainingStarted) and each.run in runs]
        notes = registry.attached(models, version, registry.NOTES)
        known = registry.read_notes(notes) if notes is not None else {}
        text = card(context.config, promoted, at, judged, [*started[:1], *finished[:1]], known)
        with tempfile.TemporaryDirectory(prefix="retrain-") as directory:
            file = Path(directory) / "card.md"
            file.write_text(context.secrets.scrub(text), encoding="utf-8", errors="backslashreplace")
            registry.attach(models, version, registry.CARD, file)
    except Exception as error:  # a promotion is never undone for its description
        return f"the model card could not be written: {error}"
    return ""


Training = Sequence[TrainingStarted | TrainingFinished]


def card(  # noqa: PLR0913, PLR0917  (all that is known of the version)
    config: Config,
    promoted: Promoted,
    at: datetime,
    judged: Judged | None,
    training: Training,
    notes: Mapping[str, Any],
) -> str:
    """The card; `judged` is the comparison that the promotion followed."""
    front = yaml.safe_dump(_front(config, promoted, judged), sort_keys=False, allow_unicode=True)
    by = f" by {in_markdown(str(promoted.by))}" if promoted.by is not None else ""
    instead = f", in place of `{promoted.previous}`" if promoted.previous else ", the first champion"
    why = f"{'by force: ' if promoted.forced else ''}{in_markdown(promoted.reason)}"
    lines = [
        f"---\n{front}---\n\n# {in_markdown(config.name)}: {short(promoted.version)}\n",
        f"Promoted {moment(at)}{by}{instead}: {why}.\n",
        *("## Verdict\n", *_verdict(config, promoted, judged, at)),
        *("## Training\n", *_training(training)),
    ]
    if notes:
        lines += _table(("note", "value"), [(key, _plain(value)) for key, value in [*notes.items()][:_MOST_NOTES]])
    return "\n".join([*lines, "## How to load it\n", *_loading(config, promoted.version)]) + "\n"


def _front(config: Config, promoted: Promoted, judged: Judged | None) -> dict[str, Any]:
    library = {"library_name": "sklearn"} if config.promotion.predict is None else {}
    front: dict[str, Any] = {**library, "pipeline_tag": _TASK, "tags": [_TASK, "retrain"]}
    if judged is None or (score := judged.verdict.challenger_score) is None:
        return front
    verdict, metric = judged.verdict, str(config.gate.metric)
    result = {
        "task": {"type": _TASK},
        "dataset": {"type": "holdout", "name": f"holdout of {verdict.rows} rows", "revision": judged.holdout},
        "metrics": [{"type": metric, "value": round(score, 6), "name": name_of(config.gate)}],
    }
    index = {"name": f"{config.name} {short(promoted.version)}", "results": [result]}
    return {**front, "metrics": [metric], "model-index": [index]}


def _verdict(config: Config, promoted: Promoted, judged: Judged | None, at: datetime) -> Iterator[str]:
    if judged is None:
        yield "No comparison is recorded.\n"
        return
    shown = comparison(config, judged, judged.verdict, at, head="", wins=True, forced=promoted.forced)
    facts = [(row.title, f"{row.text} ({row.meaning})" if row.meaning else row.text) for row in shown.facts]
    yield from _table(("number", ""), facts)
    if shown.slices:
        slices = [(each.name, f"{each.rows:,}", each.gain, each.found) for each in shown.slices]
        yield from _table(("slice", "rows", "gain", "challenger"), slices)
    yield "Not tested:\n"
    yield from (f"- {in_markdown(each)}" for each in shown.untested)
    yield ""


def _training(training: Training) -> Iterator[str]:
    for event in training:
        if isinstance(event, TrainingStarted):
            yield f"Run {in_markdown(event.run)}, because: {in_markdown(event.message)}.\n"
        elif event.seconds is not None:
            yield f"It took {duration(timedelta(seconds=event.seconds))}.\n"
    if not training:
        yield "No training of this project made it.\n"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}"
    yield from (f"| {' | '.join(map(in_markdown, row))} |" for row in rows)
    yield ""


def _loading(config: Config, version: str) -> Iterator[str]:
    """How to load the artifact, whose name is the SHA-256 of its bytes."""
    if config.promotion.predict is not None:
        yield "`sha256sum` of a file must be its name; of a directory, see `retrain guide operations`.\n"
        yield f"{in_markdown(shlex.join(config.promotion.predict))} predicts, with its path in `RETRAIN_MODEL`."
        return
    yield "`sha256sum` of the file must be its name. A joblib file is a program: load none that you do not trust.\n"
    if config.models.are_skops:
        call = f'import skops.io\n\nmodel = skops.io.load("{version}.skops", trusted={list(config.models.trusted)!r})'
    else:
        call = f'import joblib\n\nmodel = joblib.load("{version}.joblib")'
    yield f"```python\n{call}\n```"
