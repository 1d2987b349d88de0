"""Many tries on a few stages at once: each stage has one try at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from tests.stories.project import make_models
from tests.survival.scenes import Stage

T = TypeVar("T")


def make_stages(directory: Path) -> list[Stage]:
    """Two stages in this directory, to try two things at once, with models that are trained once."""
    (directory / "models").mkdir()
    models = make_models(directory / "models")
    return [Stage(directory / name, models) for name in ("one", "two")]


def on_stages(stages: Sequence[Stage], tries: Sequence[Callable[[Stage], T]]) -> list[T]:
    """What came of each try, in their order. Raises what the first failed one raised, with a note of which it was."""
    free: SimpleQueue[Stage] = SimpleQueue()
    for stage in stages:
        free.put(stage)

    def tried(each: Callable[[Stage], T]) -> T:
        stage = free.get()
        try:
            return each(stage)
        except BaseException as error:
            error.add_note(f"in {each}")
            raise
        finally:
            free.put(stage)

    with ThreadPoolExecutor(len(stages)) as pool:
        waiting = [pool.submit(tried, each) for each in tries]
        try:
            return [each.result() for each in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
