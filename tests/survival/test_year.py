"""Many checks on a clock that is an argument: the quick sizes of `year` and `million`."""

from pathlib import Path

from tests.stories.project import Models
from tests.survival import million, year


def test_weeks_of_checks_leave_state_bounded_and_the_history_foldable(tmp_path: Path, models: Models) -> None:
    """With trainings, promotions and silent days between; no daily window trains twice."""
    lines = list(year.year(tmp_path, 1500, 3, 5, models=models, seed=190))
    assert any("training succeeded" in line for line in lines), lines


def test_pruning_a_long_history_changes_no_decision_and_no_look(tmp_path: Path, models: Models) -> None:
    """The past is the same to the letter, and folded anew; every look at the holdout stays; check goes on."""
    project = million.lived(tmp_path, "old", 4, models)
    million.stretch(project, 10_000)
    million.fold_once(project)
    assert len(list(million.pruned(project, "30d"))) == 2
    assert million.count(project) < 5_000
    assert million.cost(project, ("check",)).exit_code == 0
