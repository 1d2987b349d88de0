"""Kill the commands anywhere: at each system call that changes something, and at random times.

SIGKILL as a command enters its nth call leaves the disk as the calls before it left it, so a kill at each call shows
every state in which a crash of the process can leave the project.
"""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.stories.project import RETRAIN, Project, until
from tests.survival import strace
from tests.survival.scenes import HOOKED, PROBATION, PROMOTES, ROLLS_BACK, SCENES, TRAINS, Scene, Stage
from tests.survival.sound import adoptions, champion, events, is_held, proper, told, trainings, versions
from tests.survival.stages import make_stages, on_stages

HARMS = ("the controller", "its process group", "the controller and all its descendants", "its descendants")


@dataclass(frozen=True)
class Outcome:
    """What came of one try: whether anything was killed, what the next command settled, whether one was turned away."""

    killed: bool
    settled: str = ""
    turned_away: bool = False


Try = Callable[[Stage], Outcome]


def at_call(scene: Scene, call: strace.Call, again: bool, stage: Stage) -> Outcome:
    """Kill the command of this scene as it enters the call."""
    project = stage.at(scene)
    done = strace.killed(project, call, *scene.words)
    if done.returncode != -signal.SIGKILL:
        proper(done)
        return Outcome(killed=False)
    return _aftermath(stage, scene, project, again)


def after_last(scene: Scene, last: strace.Call, stage: Stage) -> Outcome:
    """Try the calls after the last that was seen, until the command survives."""
    more = Outcome(killed=False)
    for nth in range(last.nth + 1, last.nth + 10):
        tried = at_call(scene, strace.Call(last.name, nth, last.shown), False, stage)
        if not tried.killed:
            return more
        more = tried
    raise AssertionError(f"{scene} makes more and more calls of {last.name}")


def at_random(scene: Scene, harm: str, seconds: float, again: bool, stage: Stage) -> Outcome:
    """Kill so many seconds after the start of the command of this scene."""
    project = stage.at(scene)
    with _started(project, scene) as process:
        time.sleep(seconds)
        return _harmed(stage, scene, process, harm, again)


def inside(scene: Scene, harm: str, again: bool, stage: Stage) -> Outcome:
    """Kill while the training, or the hook, of this scene runs."""
    project = stage.at(scene)
    (project.root / "wait").touch()
    witness = project.root / ("hooks" if scene is HOOKED else "trainings")
    with _started(project, scene) as process:
        until(lambda: "begin" in witness.read_text(), 60)
        return _harmed(stage, scene, process, harm, again)


def _started(project: Project, scene: Scene) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RETRAIN, *scene.words],
        cwd=project.root,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _harmed(stage: Stage, scene: Scene, process: subprocess.Popen[str], harm: str, again: bool) -> Outcome:
    project = stage.projects[scene.name]
    below = _descendants(process.pid)
    if process.poll() is not None:
        process.communicate()
        return Outcome(killed=False)
    match harm:
        case "its process group":
            os.killpg(process.pid, signal.SIGKILL)
        case "its descendants" if not below:
            process.communicate(timeout=60)
            return Outcome(killed=False)
        case _:
            victims = [] if harm == "its descendants" else [process.pid]
            victims += below if harm != "the controller" else []
            for victim in victims:
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
    if "descendants" in harm:  # nothing goes on alone; who settles it may run the hook once more
        (project.root / "wait").unlink(missing_ok=True)
    out, err = process.communicate(timeout=60)
    done = subprocess.CompletedProcess(scene.words, process.returncode, out, err)
    if harm == "its descendants":
        proper(done)
    elif done.returncode != -signal.SIGKILL:
        return Outcome(killed=False)
    return _aftermath(stage, scene, project, again)


def _aftermath(stage: Stage, scene: Scene, project: Project, again: bool) -> Outcome:
    """What the next command made of what the kill left. Raises AssertionError where a requirement is violated.

    The next command is the same one `again`, or a check.
    """
    models, state = project.root / "models", project.root / "state"
    before = events(state)
    told(before)
    champion(models, stage.versions)
    versions(models)
    was_held = is_held(state)
    turned_away = was_held and _turned_away(project)
    (project.root / "wait").unlink(missing_ok=True)
    until(lambda: not is_held(state))
    left = told(events(state))
    if left != (None, None):
        shown = project.run("status")
        assert shown.returncode == 0, shown
        assert "which was interrupted" in shown.stdout, (left, shown)

    done = project.run(*(scene.words if again else ("check",)))
    proper(done)
    rows = events(state)
    assert rows[: len(before)] == before, "what was committed before the kill is not what the journal says now"
    assert told(rows) == (None, None), (told(rows), done)
    serves = champion(models, stage.versions)
    # A promote that was to be turned away may have come when the training had ended, and have swapped.
    assert not again or was_held or serves == stage.version(scene.serves), (serves, done)
    assert len(versions(models)) <= 1, versions(models)
    adoptions(rows, models)
    begun = trainings(project)["begin"]
    assert begun <= sum(row.kind == "TrainingStarted" for row in rows), "a training that no event tells of"
    return Outcome(killed=True, settled=_settled(project, left, done, again), turned_away=turned_away)


def _turned_away(project: Project) -> bool:
    """Whether a check and a promote found the lock held by what outlived the kill; they must start nothing then."""
    state, begun = project.root / "state", trainings(project)["begin"]
    project.metrics(f1=0.7)
    check, promote = project.run("check"), project.run("promote")
    proper(check)
    proper(promote)
    if not is_held(state):  # it ended meanwhile
        return False
    assert (check.returncode, promote.returncode) == (0, 75), (check, promote)
    assert trainings(project)["begin"] == begun
    return True


def _settled(project: Project, left: tuple[str | None, str | None], done: object, again: bool) -> str:
    """What was settled, which `status` and a check must tell."""
    run, swap = left
    if run is None and swap is None:
        return ""
    assert isinstance(done, subprocess.CompletedProcess)
    assert again or "(before that, " in done.stdout + done.stderr, done
    lately = project.json("status", "--limit", "50")["events"]
    if run is not None:
        assert any(f"training {run}" in each["message"] and "interrupted" in each["message"] for each in lately)
        return "a training"
    closing = next(each for each in lately if each["kind"] in ("promoted", "rolled_back", "swap_undone"))
    assert swap is not None
    assert swap[:12] in closing["message"], closing
    return "a swap"


# ---------------------------------------------------------------- how many


def tries(scene: Scene, stage: Stage, dice: random.Random, share: float) -> list[Try]:
    """A try for this share of the calls of the scene's command; for all of them, also those after the last."""
    own = stage.calls(scene)[0]
    chosen: Sequence[strace.Call] = own if share >= 1 else dice.sample(own, max(1, round(share * len(own))))
    found: list[Try] = [partial(at_call, scene, call, dice.random() < 0.4) for call in chosen]
    if share >= 1:
        last = {call.name: call for call in own if call.name != "openat"}
        found += [partial(after_last, scene, call) for call in last.values()]
    return found


def random_tries(stage: Stage, dice: random.Random, count: int) -> list[Try]:
    """So many tries at random times, and half as many inside a training or a hook."""
    found: list[Try] = []
    scenes = dice.sample((TRAINS, PROMOTES, HOOKED, ROLLS_BACK, PROBATION), min(count, 5))
    for index in range(count):
        scene = scenes[index % len(scenes)]
        seconds = dice.random() * _seconds(stage, scene)
        found.append(partial(at_random, scene, dice.choice(HARMS), seconds, dice.random() < 0.4))
    insides = [(scene, harm) for scene in (TRAINS, HOOKED) for harm in HARMS]
    for index in range(count // 2):
        found.append(partial(inside, *insides[index % len(insides)], dice.random() < 0.4))
    return found


@cache
def _seconds(stage: Stage, scene: Scene) -> float:
    """How long the command of this scene takes."""
    project, began = stage.at(scene), time.monotonic()
    proper(project.run(*scene.words))
    return time.monotonic() - began


def figures(seed: int = 4) -> Iterator[str]:
    """The full size, a line a scene."""
    dice, total = random.Random(seed), 0
    with tempfile.TemporaryDirectory(prefix="kill-") as directory:
        stages = make_stages(Path(directory))
        for scene in SCENES:
            outcomes = on_stages(stages, tries(scene, stages[0], dice, 1))
            total += sum(each.killed for each in outcomes)
            yield f"{scene}, killed at every call that changes something, until it survived: {_told(outcomes)}"
        outcomes = on_stages(stages, random_tries(stages[0], random.Random(seed), 100))
        total += sum(each.killed for each in outcomes)
        yield f"at random times, and inside trainings and hooks: {_told(outcomes)}"
    yield f"{total} kills in all: the champion always loaded and was a known version, no version was half written,"
    yield "no two trainings ran at once, no event was lost or doubled, and the next command settled what was open"


def _told(outcomes: Iterable[Outcome]) -> str:
    killed = [each for each in outcomes if each.killed]
    settled = Counter(each.settled for each in killed if each.settled)
    told = [f"{len(killed)} kills", *(f"{what} settled {count} times" for what, count in sorted(settled.items()))]
    busy = sum(each.turned_away for each in killed)
    told += (
        [f"{busy} times the training or hook went on and the next check and promote were turned away"] if busy else []
    )
    return "; ".join(told)


def _descendants(process: int) -> list[int]:
    """Every living process below this one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, pending = [], [process]
    while pending:
        pending = [child for each in pending for child in parents.get(each, [])]
        found += pending
    return found
