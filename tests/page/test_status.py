"""`retrain status --html`, the live page, and several projects in one table."""

import json
import re
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrain.config import Config
from retrain.core.events import Checked, Entry, Promoted, RolledBack
from retrain.page import Standing
from retrain.page.chart import Scale, gathered
from retrain.page.view import view
from tests.page import year
from tests.page.conftest import Browser
from tests.stories.project import CHAMPION, Project, until

CONTRAST = """
const channel = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const ground = node => { for (; node; node = node.parentElement) {
  const c = parse(getComputedStyle(node).backgroundColor); if (c.length == 3) return c; } };
document.querySelectorAll('details').forEach(each => each.open = true);
let least = 99, seen = 0;
for (const node of document.querySelectorAll('body *')) {
  if (![...node.childNodes].some(each => each.nodeType == 3 && each.data.trim())
      || node.closest('script, title')) continue;
  const style = getComputedStyle(node), ink = parse(node.closest('svg') ? style.fill : style.color);
  const on = node.classList.contains('on') ? parse(getComputedStyle(node.previousElementSibling).fill) : ground(node);
  const [a, b] = [light(ink), light(on)].sort((x, y) => y - x);
  least = Math.min(least, (a + .05) / (b + .05)); seen++;
}
document.body.dataset.least = least; document.body.dataset.seen = seen;
document.body.dataset.ground = getComputedStyle(document.body).backgroundColor;
"""
FRAME = """
const frame = document.createElement('iframe'), html = document.documentElement.outerHTML.replace(/<script>.*/s, '');
frame.style = 'width: 400px; border: 0'; document.body.append(frame);
frame.contentDocument.open(); frame.contentDocument.write(html); frame.contentDocument.close();
document.body.dataset.wide = frame.contentDocument.documentElement.scrollWidth;
const texts = [...frame.contentDocument.querySelectorAll('svg text')].map(each => each.getBoundingClientRect().height);
document.body.dataset.small = Math.min(...texts);
"""


def data(document: str, name: str) -> str:
    found = re.search(rf'<body[^>]* data-{name}="([^"]*)"', document)
    assert found is not None, name
    return found[1]


@pytest.fixture
def old(project: Project) -> Project:
    """A project with a year of daily windows in its journal, whose latest champion serves."""
    year.write(project.root / "state", datetime.now(UTC))
    served = [event.version for _, event in year.events() if isinstance(event, Promoted | RolledBack)][-1]
    (project.root / "models/versions").mkdir()
    (project.root / f"models/versions/{served}.joblib").write_bytes(b"x")
    (project.root / CHAMPION).symlink_to(f"versions/{served}.joblib")
    return project


@pytest.fixture
def page(old: Project) -> str:
    assert old.run("status", "--html", "s.html").returncode == 0
    return (old.root / "s.html").read_text()


def test_a_year_is_one_small_file_that_is_safe(page: str) -> None:
    """At most 60 KB for a year of daily windows; no script, nothing from elsewhere, and foreign texts are escaped."""
    assert len(page.encode()) <= 60 * 1024
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;1&#34;)" in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert page.count("<circle") > 20
    assert (
        len(re.findall(r"<tr><td>20\d\d-\d\d-\d\d<td>0\.\d{3}<td>0\.\d{3} to 0\.\d{3}<td>0\.\d{3}<td>1200", page))
        == 365
    )


def test_a_page_can_be_read_in_light_and_dark_and_on_a_phone(page: str, browser: Browser) -> None:
    """Every text has a contrast of at least 4.5 to 1 with what is behind it; a phone scrolls no page sideways."""
    grounds = set()
    for dark in (False, True):
        document = browser(page, CONTRAST, dark=dark)
        assert float(data(document, "least")) >= 4.5
        assert int(data(document, "seen")) > 2000
        grounds.add(data(document, "ground"))
    assert len(grounds) == 2
    document = browser(page, FRAME)
    assert int(data(document, "wide")) == 400
    assert float(data(document, "small")) >= 10


def test_a_comparison_can_be_read_in_light_and_dark_and_on_a_phone(project: Project, browser: Browser) -> None:
    """As the page of a project."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong), "--report", "c.html")
    page = (project.root / "c.html").read_text()
    assert all(float(data(browser(page, CONTRAST, dark=dark), "least")) >= 4.5 for dark in (False, True))
    assert int(data(browser(page, FRAME), "wide")) == 400


def test_the_view_is_computed_from_events_alone(tmp_path: Path) -> None:
    """Windows, bounds, markers, pauses, champions with scores, comparisons, who and why: without HTML."""
    entries = [Entry(number, at, event) for number, (at, event) in enumerate(year.events())]
    checks = [each for each in entries if isinstance(each.event, Checked)]
    changes = [each for each in entries if not isinstance(each.event, Checked)]
    shown = view(Config(name="churn"), Standing("HEALTHY", "all is well", {}, {}), year.NOW, checks, changes)
    assert (shown.project, shown.tone, len(shown.windows), shown.left_out) == ("churn", "good", 365, 0)
    assert shown.windows[-1][1:3] == ("0.910", "0.887 to 0.929")  # Wilson's bounds of 364 hits among 436, as F1
    assert [chart.signal for chart in shown.charts] == ["f1", "drift"]
    rows = {row.name: row for row in shown.rows}
    assert {name: sum(count for _, count, _ in row.marks) for name, row in rows.items()} == {
        "trained": 11,
        "failed": 1,
        "promoted": 11,
        "rolled back": 1,
        "paused": 0,
    }
    (span,) = rows["paused"].spans
    assert span[1] == pytest.approx(15 / 365 * 628, abs=2)
    assert all(
        after[0] - before[0] >= 16
        for row in shown.rows
        for before, after in zip(row.marks, row.marks[1:], strict=False)
    )
    assert [band.score for band in shown.bands][:3] == ["", "0.912", "0.912"]
    assert shown.bands[-1].until == "now"
    assert shown.comparisons[0][2:] == (
        "promote",
        "0.912 against 0.871",
        "+0.041 (+0.021 to +0.061)",
        "2",
        "alice on web1",
    )
    assert any("false alarms since noon" in what and who == "alice on web1" for _, what, who in shown.events)
    empty = view(Config(), Standing("UNKNOWN", "no check has run yet", {}, {}), year.NOW, [], [])
    assert (empty.charts, empty.rows, empty.bands, empty.windows) == ((), (), (), ())


def test_markers_that_would_overlap_become_one() -> None:
    """With their number; ticks are round; a value beyond a scale stands at its edge."""
    assert gathered([(10.0, "b"), (1.0, "a"), (40.0, "c")], 16) == [(1.0, 2, "a; b"), (40.0, 1, "c")]
    scale = Scale.around(0.8, 0.9, 100, 0)
    assert [text for _, text in scale.ticks()] == ["0.80", "0.85", "0.90"]
    assert (scale(5), scale(-5)) == (0, 100)


def test_the_page_of_a_new_project_says_so(project: Project) -> None:
    """There is nothing to draw, and no command fails."""
    assert project.run("status", "--html", "s.html").returncode == 0
    assert "UNKNOWN" in (project.root / "s.html").read_text()
    assert project.run("status", "--html", "s.txt").returncode == 2


def test_several_projects_stand_in_one_table_the_worst_first(project: Project, browser: Browser) -> None:
    """One that cannot be read is a line, too, and the exit code; --json has an object a line. Read as other pages."""
    project.serve(project.models.fair)
    project.run("check")
    for name, text in (("b<b>", "trigers: 1"), ("c", (project.root / "config.yaml").read_text())):
        (project.root / name).mkdir()
        (project.root / name / "config.yaml").write_text(text)
    done = project.run("status", "-c", ".", "--html", "all.html")
    assert done.returncode == 2
    first, _, *lines = done.stdout.splitlines()
    assert first == "3 projects: 1 CANNOT BE READ, 1 UNKNOWN, 1 HEALTHY"
    words = ("CANNOT BE READ", "UNKNOWN", "HEALTHY")
    assert [line.startswith(word) for line, word in zip(lines, words, strict=True)] == [True] * 3
    page = (project.root / "all.html").read_text()
    assert page.index("CANNOT BE READ</b>") < page.index("UNKNOWN</b>") < page.index("HEALTHY</b>")
    assert "<td>b&lt;b&gt;</td>" in page
    assert all(float(data(browser(page, CONTRAST, dark=dark), "least")) >= 4.5 for dark in (False, True))
    assert int(data(browser(page, FRAME), "wide")) == 400
    objects = [
        json.loads(line) for line in project.run("status", "-c", "config.yaml", "-c", "c", "--json").stdout.splitlines()
    ]
    assert [each["state"] for each in objects] == ["UNKNOWN", "HEALTHY"]


@pytest.mark.own_process
def test_the_monitor_serves_the_page_live(project: Project) -> None:
    """At /, with metrics where they were; a check shows on it soon, and no page can run a script."""
    (project.root / "log.csv").write_text("timestamp,label,prediction\n2026-01-01T00:00:00Z,1,1\n")
    project.configure(monitor={"log": "log.csv"})
    monitor = project.start("monitor", "--listen", "127.0.0.1:0")
    try:
        assert monitor.stderr is not None
        url = monitor.stderr.readline().split()[1].removesuffix("/metrics")

        def got(path: str) -> tuple[str, str]:
            with urllib.request.urlopen(url + path, timeout=30) as answer:  # noqa: S310
                return answer.read().decode(), str(answer.headers)

        page, headers = got("/")
        assert "no check has run yet" in page.lower()
        assert "default-src 'none'" in headers
        assert "model_f1_score" in got("/metrics")[0]
        project.serve(project.models.fair)
        project.run("check")
        until(lambda: "HEALTHY" in got("/")[0])
    finally:
        monitor.terminate()
        monitor.communicate(timeout=30)
