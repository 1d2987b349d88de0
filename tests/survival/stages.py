"""Many tries on a few stages at once: each stage has one try at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from tests.survival.scenes import Stage

T = TypeVar("T")


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
