"""`retrain promote --report FILE`: what a comparison showed, as a page and as Markdown. And the model card."""

import re
import shutil

import pytest
import yaml

from tests.stories.project import CHAMPION, Project


def waiting(project: Project) -> Project:
    """The project with a challenger that is better than its champion."""
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    return project


def test_a_report_has_all_that_the_verdict_rests_on(project: Project) -> None:
    """Verdict, gain with bounds, rows won and lost, both confusion matrices, and what was not tested: in both forms."""
    waiting(project).configure(promotion={"slices": ["group"], "min_improvement": 0.01})
    rows = (project.root / "data/holdout.csv").read_text().splitlines()
    labelled = [f"{row},{'a|b <i>' if number % 2 else '*c*'}" for number, row in enumerate(rows[1:])]
    (project.root / "data/holdout.csv").write_text("\n".join([f"{rows[0]},group", *labelled]))
    assert project.run("promote", "--dry-run", "--report", "c.html").returncode == 0
    html = (project.root / "c.html").read_text()
    said = project.json("promote", "--report", "c.md")
    markdown = (project.root / "c.md").read_text()
    for page in (html, markdown):
        for number in (said["difference"], *said["interval"], 0.01):
            assert f"{number:+.3f}".rstrip("0") in page
        assert "ot tested" in page
        assert "promotion.group names no column" in page
    assert "<td>group = a|b &lt;i&gt;</td>" in html
    assert "| group = a&#124;b &#60;i&#62; |" in markdown
    assert "| group = &#42;c&#42; |" in markdown
    matrices = [[*map(int, row)] for row in re.findall(r"^\| [01] \| (\d+) \| (\d+) \|$", markdown, re.MULTILINE)]
    assert [sum(map(sum, matrices[:2])), sum(map(sum, matrices[2:]))] == [3000, 3000]
    assert "<script" not in html
    tables = [line.count("|") for line in markdown.splitlines() if line.startswith("|")]
    assert all(2 < columns < 8 for columns in tables)


def test_a_report_shows_no_more_than_is_disclosed(project: Project) -> None:
    """With promotion.disclose: verdict, a page on a challenger that is not promoted has no scores and no counts."""
    project.serve(project.models.strong)
    project.configure(promotion={"disclose": "verdict"})
    done = project.run("promote", str(project.models.weak), "--report", "c.html")
    assert done.returncode == 10
    html = (project.root / "c.html").read_text()
    assert "not better than the champion" in html.lower()
    assert "Confusion" not in html
    assert "0.78" not in html


@pytest.mark.parametrize(("file", "why"), [("c.pdf", "must end in .html or .md"), ("no/c.md", "no directory no")])
def test_a_report_that_cannot_be_written_is_refused_before_the_comparison(
    project: Project, file: str, why: str
) -> None:
    """Wrong flags are exit code 2, and use up no comparison."""
    done = waiting(project).run("promote", "--report", file)
    assert (done.returncode, why in done.stderr) == (2, True)
    assert project.json("status")["challenger"]["judged"] is False


def test_without_jinja2_a_report_says_how_to_install_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the promotion does not need it; nor does the model card."""
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    done = waiting(project).run("promote", "--report", "c.md")
    assert done.returncode == 1
    assert "--report needs jinja2 (pip install 'retrain-controller[report]')" in done.stderr
    assert project.run("promote").returncode == 0
    assert len([*(project.root / "models/versions").glob("*.md")]) == 1


def test_a_promotion_leaves_a_model_card_that_goes_with_its_version(project: Project) -> None:
    """Front matter of Hugging Face, the verdict with its bounds, reason, run, actor, notes, how to load it."""
    waiting(project).configure(models={"keep": 1})
    version = project.json("status")["challenger"]["version"]
    (project.root / f"models/versions/{version}.notes.json").write_text('{"commit": "abc|<b>1", "trees": 30}')
    said = project.run("promote", SUDO_USER="alice")
    card = project.root / f"models/versions/{version}.md"
    _, front, body = card.read_text().split("---\n", 2)
    known = yaml.safe_load(front)
    (result,) = known["model-index"][0]["results"]
    assert known["pipeline_tag"] == result["task"]["type"] == "tabular-classification"
    assert result["dataset"].keys() >= {"type", "name"}
    assert f"F1 {result['metrics'][0]['value']:.3f}" in said.stdout
    assert "by alice on " in body
    assert re.search(r"confidence bounds \| \+0\.\d+ to \+0\.\d+", body)
    assert re.search(r"Run \d+T\d+Z-\w+, because: F1 0\.800 is below 0\.850\.", body)
    assert "| commit | abc&#124;&#60;b&#62;1 |" in body
    assert "| trees | 30 |" in body
    assert f'joblib.load("{version}.joblib")' in body
    assert card.stat().st_mode & 0o444
    for model in ("fair", "weak", "twin"):  # the versions that are gone take their cards with them
        project.run("promote", str(getattr(project.models, model)), "--force", "--reason", "test")
    kept = {path.name.partition(".")[0] for path in (project.root / "models/versions").glob("*.joblib")}
    cards = {path.name.partition(".")[0] for path in (project.root / "models/versions").glob("*.md")}
    assert cards
    assert cards <= kept


def test_a_promotion_stands_where_its_card_cannot_be_written(project: Project) -> None:
    """And the command says so."""
    version = waiting(project).json("status")["challenger"]["version"]
    (project.root / f"models/versions/{version}.md").mkdir()
    said = project.run("promote")
    assert said.returncode == 0
    assert "(the model card could not be written: " in said.stdout
    assert (project.root / CHAMPION).resolve().name == f"{version}.joblib"
    shutil.rmtree(project.root / f"models/versions/{version}.md")
