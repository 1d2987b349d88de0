"""Verdicts that depend on more than the holdout: live F1 that contradicts it, scores withheld, a first model."""

import re

from tests.stories.project import RETRAIN, Project, on_a_terminal

COUNTS = {"tp": "tp", "fp": "fp", "fn": "fn"}


def trained(project: Project, model: str, **metrics: float) -> None:
    """Let a check train this model, for these metrics."""
    project.train(f"cp {getattr(project.models, model)} $(RETRAIN_CHALLENGER)")
    project.configure(triggers={"cooldown": "0s"}, monitoring={"counts": COUNTS})
    project.metrics(**metrics)
    assert project.run("check").returncode == 0


def test_a_file_that_live_f1_contradicts_rejects_nobody_and_is_named_everywhere(project: Project) -> None:
    """The verdict is inconclusive, with both numbers and the remedy; status and doctor say so, too."""
    project.serve(project.models.strong)
    trained(project, "weak", f1=0.2, tp=50, fp=200, fn=200)
    done = project.run("promote")
    assert done.returncode == 11
    stale = r"on this holdout the champion has F1 0\.\d{3}, live 0\.200: it says nothing about today"
    assert re.search(stale, done.stdout)
    assert "renew promotion.holdout, or set it to fresh" in done.stdout
    said = project.json("status")
    assert re.match(stale, said["holdout"])
    found = [each["message"] for each in project.json("doctor")["findings"] if each["verdict"] == "warn"]
    assert any(re.match(stale, message) for message in found), found
    (project.root / "data/holdout.csv").touch()
    assert project.json("status")["holdout"] is None, "another file was not compared on"


def test_a_file_that_live_f1_agrees_with_rejects_as_ever(project: Project) -> None:
    """A few points of difference are those of any two windows."""
    project.serve(project.models.strong)
    trained(project, "weak", f1=0.84, tp=42, fp=8, fn=8)
    assert project.run("promote").returncode == 10
    assert project.json("status")["holdout"] is None


def test_with_disclose_verdict_scores_are_shown_of_promoted_challengers_only(project: Project) -> None:
    """Neither promote nor status shows others, in words or as JSON, not even under --dry-run --force."""
    project.configure(promotion={"disclose": "verdict"})
    project.serve(project.models.strong)
    trained(project, "weak", f1=0.84, tp=42, fp=8, fn=8)
    for words in ([], ["--dry-run", "--force", "--reason", "to see"]):
        said = project.json("promote", *words)
        shown = [said[name] for name in ("difference", "interval", "expected_gain", "worse_later")]
        assert [said["challenger"]["score"], said["champion"]["score"], *shown] == [None] * 6
        assert said["discordant"] > 0
        assert said["detectable"] > 0
        assert "F1 0." not in said["message"]
    assert "comparison 1, f1" not in project.run("status").stdout
    forced = project.json("promote", "--force", "--reason", "to see")
    assert forced["challenger"]["score"] > 0


def test_of_a_forced_challenger_nothing_is_promised(project: Project) -> None:
    """The table has no row about the risk."""
    project.serve(project.models.strong)
    trained(project, "weak", f1=0.84, tp=42, fp=8, fn=8)
    assert project.run("promote", "--dry-run").returncode == 10  # whose verdict the process need not find again
    words = ["promote", "--force", "--reason", "to see"]
    code, said = on_a_terminal([RETRAIN, *words], project.root, {**project.environment, "NO_COLOR": "1"})
    assert code == 0
    assert "by force" in said
    assert "risk" not in said


def test_regret_is_a_guarantee_that_can_be_asked_for(project: Project) -> None:
    """Expected gain and loss are in the verdict, whichever comparison it is."""
    project.configure(promotion={"guarantee": "regret", "harm_weight": 8})
    project.serve(project.models.weak)
    trained(project, "strong", f1=0.84, tp=42, fp=8, fn=8)
    said = project.json("promote")
    assert said["promoted"]
    assert said["expected_gain"] > 8 * said["expected_loss"]
    assert said["worse_later"] == [0.02, 0.05]


def test_a_first_model_is_not_promoted_on_a_few_rows(project: Project) -> None:
    """Thirty rows of the positive class are the fewest; floor_as: point takes the score as it is."""
    header, *rows = (project.root / "data/holdout.csv").read_text().splitlines()
    (project.root / "data/holdout.csv").write_text("\n".join([header, *rows[:40]]) + "\n")
    done = project.run("promote", str(project.models.strong))
    assert done.returncode == 11
    assert "a first model needs 30" in done.stdout
    project.configure(promotion={"floor_as": "point"}, triggers={"performance_threshold": 0.5})
    assert project.run("promote", str(project.models.strong)).returncode == 0
