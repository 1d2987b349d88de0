"""`retrain recipe`: each file is what the program that it is for takes, whatever the project is called."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from retrain.recipes import FORMS, filled
from tests.conftest import real
from tests.effects.servers import child, said
from tests.stories.project import RETRAIN, Models, Project, run_here, until

RECIPES = Path(__file__).parents[2] / "src/retrain/recipes"
NAMES = [file.name.partition(".")[0] for file in sorted(RECIPES.glob("*.*")) if file.suffix != ".py"]
HOSTILE = """ch urn $x %n 'q' "d" ; #\\ {{7*7}} $(id)"""


@pytest.fixture
def hostile(tmp_path: Path, models: Models) -> Project:
    """A project in a directory with a name that every language reads otherwise."""
    (tmp_path / HOSTILE).mkdir()
    return Project(tmp_path / HOSTILE, models, installed=False)


def printed(project: Project, name: str) -> str:
    """What the command prints, which is what stands in its object."""
    text = str(project.json("recipe", name)["text"])
    assert project.run("recipe", name).stdout == text
    return text


def accepted(program: str, *words: str | Path) -> None:
    """The program finds nothing wrong."""
    done = subprocess.run([real(program), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done


def test_the_recipes_are_listed_without_a_configuration(tmp_path: Path) -> None:
    """A line each."""
    done = run_here(tmp_path, ["recipe"], {})
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    assert all(re.fullmatch(r"\w+ +[A-Z].+", line) and len(line) < 90 for line in done.stdout.splitlines())
    assert list(json.loads(run_here(tmp_path, ["recipe", "--json"], {}).stdout)["recipes"]) == NAMES


def test_an_unknown_recipe_is_a_wrong_flag_and_the_message_names_them(project: Project) -> None:
    """Exit code 2."""
    done = project.run("recipe", "nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert ", ".join(NAMES) in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(hostile: Project, name: str) -> None:
    """Each fact has a value."""
    assert not re.search(r"@[a-z]+(:[a-z]+)?@(?!(check|prune|promote)\.)", printed(hostile, name))


def test_the_example_of_a_crontab_is_the_recipe() -> None:
    """One text, of which the example is what an operator gets in /srv/churn."""
    facts = {"config": "/srv/churn/config.yaml", "directory": "/srv/churn", "scripts": "/srv/churn/.venv/bin"}
    text = filled((RECIPES / "cron.crontab").read_text(), facts | {"retrain": "/srv/churn/.venv/bin/retrain"})
    assert text == (RECIPES.parents[2] / "crontab.example").read_text()


@pytest.mark.own_process
def test_the_commands_of_the_crontab_run(hostile: Project) -> None:
    """As cron runs them, which makes \\% of a line a %."""
    lines = [line.split(maxsplit=5)[5] for line in printed(hostile, "cron").splitlines() if re.match(r"#?[*\d]", line)]
    *jobs, monitor = (["/bin/sh", "-c", job.replace(r"\%", "%")] for job in lines)
    assert len(jobs) == 3
    for job in jobs:
        done = subprocess.run(job, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), job
    hostile.configure(monitor={"listen": "127.0.0.1:0"})
    monitor[-1] = f"exec {monitor[-1]}"  # no shell between us and what we end
    with child(*monitor) as first:
        said(first, "serving http://(127.0.0.1)")
        second = subprocess.run(monitor, capture_output=True, text=True, check=False)
        assert (second.returncode, second.stdout, second.stderr) == (1, "", "")  # cron ignores the code
        assert first.poll() is None


def test_systemd_finds_nothing_wrong_with_the_units(hostile: Project, tmp_path: Path) -> None:
    """Of its timers and of the monitor; the words of their commands are those of the project."""
    units, hostile_name = tmp_path / "units", FORMS["file"](HOSTILE)
    units.mkdir()
    (tmp_path / "units.sh").write_text(printed(hostile, "systemd"))
    subprocess.run(["/bin/sh", tmp_path / "units.sh", units], check=True)
    instances = (f"{hostile_name}@{each}.timer" for each in ("check", "prune", "promote"))
    found = [units / each for each in (*instances, f"{hostile_name}-monitor.service")]
    done = subprocess.run([real("systemd-analyze"), "verify", *found], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    texts = (file.read_text() for file in sorted(units.rglob("*")) if file.is_file())
    commands = [words for text in texts for words in re.findall("^ExecStart=(.+)$", text, re.M)]
    plain = [shlex.split(each.replace("$$", "$").replace("%%", "%")) for each in commands]
    config = ["-c", str(hostile.root / "config.yaml")]
    assert sorted(plain) == [
        [str(RETRAIN), "%i", *config],
        [str(RETRAIN), "monitor", *config],
        [str(RETRAIN), "promote", "--if-pending", *config],
    ]


def test_amtool_takes_the_route(hostile: Project, tmp_path: Path) -> None:
    """As a whole configuration."""
    (tmp_path / "alertmanager.yml").write_text(printed(hostile, "alertmanager"))
    accepted("amtool", "check-config", tmp_path / "alertmanager.yml")


# ---------------------------------------------------------------- alert rules


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """One of promtool's input series."""
    pairs = ",".join(f'{label}="{value}"' for label, value in {"project": "churn", **labels}.items())
    return {"series": f"{name}{{{pairs}}}", "values": values}


ALERTS: dict[str, tuple[list[dict[str, str]], str, str]] = {
    "RetrainCheckMissing": ([series("retrain_last_check_timestamp_seconds", "0x120")], "65m", "75m"),
    "RetrainMetricsUnknown": ([series("retrain_check_reason", "1x120", reason="unknown")], "55m", "65m"),
    "RetrainNeedsAPerson": ([series("retrain_unpromoted_trainings", "2x30 3x60")], "25m", "31m"),
    "RetrainTrainingFails": ([series("retrain_consecutive_failures", "0x30 1x60")], "25m", "31m"),
    "RetrainChallengerWaits": ([series("retrain_challenger_waiting", "1x1500")], "23h", "24h5m"),
}
"""By alert: what is seen each minute, when it does not fire yet, and when it does."""
OTHERS = {
    "the check fails": ([series("retrain_check_reason", "0x30 1x60", reason="needs_a_person")], "40m", "50m"),
    "drift was never healthy": ([series("retrain_check_reason", "0x30 1x60", reason="not_rearmed")], "40m", "50m"),
    "the lock is held": ([series("retrain_check_reason", "0x10 1x500", reason="busy")], "7h5m", "7h15m"),
}
"""What else needs a person."""


def test_each_alert_fires_when_it_should_and_not_before(project: Project) -> None:
    """In promtool's own simulation of the rules; once, although the metrics are scraped in two ways."""
    project.settings["name"] = "churn"
    project.configure()
    (project.root / "rules.yml").write_text(printed(project, "prometheus"))
    rules = {
        each["alert"]: each for each in yaml.safe_load((project.root / "rules.yml").read_text())["groups"][0]["rules"]
    }
    assert rules.keys() == ALERTS.keys()
    tests = [*ALERTS.items(), *(("RetrainNeedsAPerson", seen) for seen in OTHERS.values())]
    simulated = [simulation(rules[alert], *seen) for alert, seen in tests]
    simulated.append(simulation(rules["RetrainCheckMissing"], [], "9m", "11m"))  # no metrics at all
    suite = {"evaluation_interval": "1m", "rule_files": ["rules.yml"], "tests": simulated}
    (project.root / "tests.yml").write_text(yaml.safe_dump(suite))
    accepted("promtool", "check", "rules", project.root / "rules.yml")
    accepted("promtool", "test", "rules", project.root / "tests.yml")


def simulation(rule: dict[str, Any], seen: list[dict[str, str]], before: str, after: str) -> dict[str, Any]:
    """A test of promtool: this rule is silent before, and fires after."""
    twice = seen + [{**each, "series": each["series"].replace("}", ',instance="b"}')} for each in seen]
    value = seen[0]["values"].split()[-1].partition("x")[0] if seen else ""
    notes = {
        name: note.replace("{{ $labels.project }}", "churn").replace("{{ $value }}", value)
        for name, note in rule["annotations"].items()
    }
    assert notes.keys() == {"summary", "description"}
    alert = {"exp_labels": {"project": "churn", **rule["labels"]}, "exp_annotations": notes}
    times = [(before, []), (after, [alert])]
    expected = [{"eval_time": at, "alertname": rule["alert"], "exp_alerts": alerts} for at, alerts in times]
    return {"interval": "1m", "input_series": twice, "alert_rule_test": expected}


# ---------------------------------------------------------------- a real Prometheus


def asked(url: str, path: str, **parameters: str) -> Any:
    """What Prometheus' API answers."""
    answer = requests.get(f"{url}/api/v1/{path}", params=parameters, timeout=10).json()
    assert answer["status"] == "success", answer
    return answer["data"]


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every query of a dashboard with the title of its panel, for the project that it shows first."""
    (current,) = (each["current"]["value"] for each in dashboard["templating"]["list"] if each["name"] == "project")
    quoted = current.replace("\\", r"\\").replace('"', r"\"")  # as a person does who writes it
    asked_for = [(panel["title"], each["expr"]) for panel in dashboard["panels"] for each in panel["targets"]]
    asked_for += [(each["name"], each["expr"]) for each in dashboard["annotations"]["list"]]
    for title, expression in asked_for:
        yield title, expression.replace("$project", quoted).replace("$__rate_interval", "1m")


def test_a_real_prometheus_fires_and_clears_needs_a_person_and_answers_the_dashboard(project: Project) -> None:
    """Three trainings without a promotion fire it, and `promote --reject` ends it; every query has an answer."""
    project.settings["name"] = 'ch"urn \\ $x %n'
    project.configure(monitor={"listen": "127.0.0.1:0"})
    project.serve(project.models.weak)
    for model in (project.models.fair, project.models.strong, project.models.fair):
        project.train(f"cp {model} $(RETRAIN_CHALLENGER)")
        assert project.run("check", "--force", "--reason", "test").returncode == 0
    (project.root / "rules.yml").write_text(printed(project, "prometheus"))
    with child(RETRAIN, "monitor", "--listen", "127.0.0.1:0", cwd=project.root) as monitor:
        target = said(monitor, r"http://(\S+)/metrics")
        settings = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "retrain", "static_configs": [{"targets": [target]}]}],
        }
        (project.root / "prometheus.yml").write_text(yaml.safe_dump(settings))
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"]
        with child(real("prometheus"), *flags, cwd=project.root) as server:
            url = "http://127.0.0.1:" + said(server, r"Listening on.* address=127\.0\.0\.1:(\d+)")

            until(lambda: requests.get(f"{url}/-/ready", timeout=10).ok)

            def firing() -> set[str]:
                alerts = asked(url, "alerts")["alerts"]
                assert all(each["labels"]["project"] == project.settings["name"] for each in alerts)
                return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

            until(lambda: firing() == {"RetrainNeedsAPerson"})
            dashboard = json.loads(printed(project, "grafana"))

            def unanswered() -> list[str]:
                return [title for title, asks in queries(dashboard) if not asked(url, "query", query=asks)["result"]]

            until(lambda: unanswered() == ["another champion"])
            assert project.run("promote", "--reject", "--reason", "labels are wrong").returncode == 0
            until(lambda: firing() == set())
            assert project.json("status")["unpromoted"] == 3


def test_the_dashboard_is_what_grafanas_sdk_builds() -> None:
    """No two panels have the same place."""
    pytest.importorskip("grafana_foundation_sdk")
    from tests.dashboard import text

    shipped = (RECIPES / "grafana.json").read_text()
    assert shipped == text()
    places = [tuple(panel["gridPos"].values()) for panel in json.loads(shipped)["panels"]]
    assert len(set(places)) == len(places)
