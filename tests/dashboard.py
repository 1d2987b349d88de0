"""The dashboard of `retrain recipe grafana`, built with Grafana's foundation SDK.

python -m tests.dashboard >src/retrain/recipes/grafana.json
"""

import json

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model

TITLE = "A dashboard for Grafana, of the metrics of retrain itself"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
OF_PROJECT = '{project="$project"}'


def query(expression: str, legend: str = "", *, instant: bool = False, name: str = "A") -> prometheus.Dataquery:
    """A query of a panel: its value now, or over time."""
    asked = prometheus.Dataquery().ref_id(name).expr(expression).legend_format(legend).datasource(SOURCE)
    return asked.instant() if instant else asked.range()


def latest(family: str) -> str:
    """The value of a family without a label of its own; only one where it is scraped in two ways."""
    return f"max({family}{OF_PROJECT})"


def number(
    title: str, expression: str, unit: str = "short", *, red: float | None = None, legend: str = ""
) -> stat.Panel:
    """One number, red from a value on."""
    steps = [model.Threshold(None, "green"), *([model.Threshold(red, "red")] if red is not None else [])]
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).span(4).height(4)
    panel = panel.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(query(expression, legend, instant=True)).graph_mode(options.BigValueGraphMode.NONE)


def state(title: str, family: str, off: str, on: str) -> stat.Panel:
    """A state of 0 or 1 in a word."""
    words = {"0": (off, "green"), "1": (on, "orange")}
    shown = {value: model.ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()}
    return number(title, latest(family)).mappings([model.ValueMap(shown)])


def signal(title: str, name: str) -> timeseries.Panel:
    """A signal beside what it is compared with."""
    panel = timeseries.Panel().title(title).datasource(SOURCE).span(12).height(9)
    for ref, what in (("A", "value"), ("B", "threshold")):
        chosen = f'max(retrain_metric_{what}{{project="$project", signal="{name}"}})'
        panel = panel.with_target(query(chosen, what, name=ref))
    red = model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "red"})
    dashed = model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    return panel.override_by_name("threshold", [red, dashed])


def names(title: str, family: str, label: str) -> statetimeline.Panel:
    """Which label of a family has the value 1, over time."""
    short = f'label_replace({family}{OF_PROJECT}, "{label}", "$1", "{label}", "(.{{12}}).*")'
    chosen = short if label == "version" else f"{family}{OF_PROJECT}"
    panel = statetimeline.Panel().title(title).datasource(SOURCE).span(24).height(6)
    panel = panel.show_value(options.VisibilityMode.NEVER).legend(common.VizLegendOptions().show_legend(False))
    return panel.with_target(query(f"max by ({label}) ({chosen}) == 1", f"{{{{{label}}}}}"))


def counts(title: str, family: str, label: str) -> timeseries.Panel:
    """How much a counter grew, in bars."""
    grew = f"max by ({label}) (increase({family}{OF_PROJECT}[$__rate_interval]))"
    panel = timeseries.Panel().title(title).datasource(SOURCE).span(12).height(7).decimals(0).min(0)
    panel = panel.draw_style(options.GraphDrawStyle.BARS).fill_opacity(60)
    return panel.with_target(query(grew, f"{{{{{label}}}}}"))


def build() -> model.Dashboard:
    """The dashboard; the project that is shown first is that of the recipe."""
    project = model.VariableOption(text="@name:inner@", value="@name:inner@")
    projects = (
        dashboard.QueryVariable("project")
        .query("label_values(retrain_last_check_timestamp_seconds, project)")
        .datasource(SOURCE)
        .current(project)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    changed = f"changes(retrain_champion_since_timestamp_seconds{OF_PROJECT}[5m]) > 0"
    swaps = dashboard.AnnotationQuery().name("another champion").datasource(SOURCE).enable(True).icon_color("purple")
    said = f"max by (reason) (retrain_check_reason{OF_PROJECT}) == 1"
    since = f"1000 * {latest('retrain_champion_since_timestamp_seconds')}"
    panels: list[stat.Panel | timeseries.Panel | statetimeline.Panel] = [
        number("Last check said", said, legend="{{reason}}").text_mode(options.BigValueTextMode.NAME),
        number("Since the last check", f"time() - {latest('retrain_last_check_timestamp_seconds')}", "s", red=3600),
        number("Failed trainings in a row", latest("retrain_consecutive_failures"), red=1),
        number("Trainings without a promotion", latest("retrain_unpromoted_trainings"), red=3),
        state("Challenger", "retrain_challenger_waiting", "none waits", "waits"),
        state("Paused", "retrain_paused", "no", "paused"),
        signal("F1", "f1"),
        signal("Drift", "drift"),
        names("What the checks said", "retrain_check_reason", "reason"),
        names("Champion", "retrain_champion_info", "version"),
        counts("Trainings", "retrain_trainings_total", "outcome"),
        counts("Verdicts of promote", "retrain_promotions_total", "verdict"),
        number("Comparisons on the holdout", latest("retrain_holdout_comparisons")).span(12),
        number("Champion since", since, "dateTimeFromNow").span(12),
    ]
    board = (
        dashboard.Dashboard("retrain")
        .uid("retrain")
        .description(TITLE)
        .tags(["retrain"])
        .time("now-30d", "now")
        .refresh("5m")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(projects)
        .annotation(swaps.expr(changed))
    )
    for number_of, panel in enumerate(panels, start=1):
        board = board.with_panel(panel.id(number_of))
    return board.build()


def text() -> str:
    """The dashboard as Grafana's Classic JSON."""
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(build())), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
