"""What is shipped for Prometheus and Grafana asks for what the desk really has.

Prometheus itself is not at hand, so that expressions are read by a strict little grammar of our own:
what it does not know is a mistake.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from desk import meters
from desk.alert_codes import CODES
from serve_apps import metrics
from serve_apps.metric_facts import GAUGES
from tests.serve_apps.scene import make_scene

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
RULES = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())
BOARD: dict[str, Any] = json.loads((OPS / "grafana" / "raydesk.json").read_text())
FUNCTIONS = {
    *("sum", "min", "max", "count", "rate", "increase", "delta", "abs", "topk"),
    "histogram_quantile",
}
WORDS = {"by", "without", "unless", "and", "or", "on"}
RANGED = {"rate", "increase", "delta"}
TOKEN = re.compile(
    r"""\s*(?:
      (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<selector>\{[^}]*\})
    | (?P<range>\[[^\]]*\])
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<operator>==|!=|>=|<=|[-+*/><(),])
    )""",
    re.VERBOSE,
)
MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')


@cache
def served() -> dict[str, frozenset[str]]:
    """Every series name of the real exposition with the labels it has."""
    text = metrics.render(make_scene().app().state.context).decode()
    found: dict[str, frozenset[str]] = {"up": frozenset({"job", "instance"})}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(GAUGES[name][1] if name in GAUGES else meters.METERS[name].labels)
        if family.type == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}}
            found |= {f"{name}{end}": labels for end in ("_count", "_sum")}
        else:
            found[name] = labels
    return found


def problems(expression: str) -> list[str]:
    """What is wrong with an expression: unknown words, metrics, labels, ranges, unbalanced brackets."""
    wrong: list[str] = []
    tokens = list(tokens_of(expression, wrong))
    depth, at = 0, 0
    names = [value for kind, value in tokens if kind == "name"]
    metrics_used = [name for name in names if name in served()]
    if not metrics_used:
        wrong.append("asks for no metric")
    labels = frozenset.union(*(served()[name] for name in metrics_used)) if metrics_used else set()
    while at < len(tokens):
        kind, value = tokens[at]
        if kind == "operator":
            depth += {"(": 1, ")": -1}.get(value, 0)
        elif kind == "name" and value in {"by", "without", "on"}:
            at, listed = label_list(tokens, at + 1)
            wrong += [f"no label {label}" for label in listed if label not in labels]
        elif kind == "name" and value in served():
            wrong += after_metric(value, tokens[at + 1 : at + 3], tokens[max(at - 2, 0) : at])
        elif kind == "name" and value not in FUNCTIONS | WORDS:
            wrong.append(f"there is no {value}")
        if depth < 0:
            wrong.append("a bracket too many")
        at += 1
    return wrong + (["a bracket is missing"] if depth else [])


def tokens_of(expression: str, wrong: list[str]) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression.rstrip()):
        found = TOKEN.match(expression, at)
        if found is None:
            wrong.append(f"cannot be read from: {expression[at:]}")
            return
        yield str(found.lastgroup), found[str(found.lastgroup)]
        at = found.end()


def label_list(tokens: list[tuple[str, str]], at: int) -> tuple[int, list[str]]:
    end = next(place for place in range(at, len(tokens)) if tokens[place][1] == ")")
    return end, [value for kind, value in tokens[at:end] if kind == "name"]


def after_metric(
    name: str, following: list[tuple[str, str]], before: list[tuple[str, str]]
) -> list[str]:
    """Whether the labels of the selector are the metric's, and a range is where one is needed."""
    wrong: list[str] = []
    if following and following[0][0] == "selector":
        body = following.pop(0)[1].strip("{}")
        matchers = MATCHER.findall(body)
        if MATCHER.sub("", body).strip():
            wrong.append(f"selector cannot be read: {body}")
        for label, _, value in matchers:
            if label not in served()[name]:
                wrong.append(f"{name} has no label {label}")
            if label == "code" and value not in CODES:
                wrong.append(f"there is no alert {value}")
    has_range = bool(following) and following[0][0] == "range"
    is_ranged = len(before) == 2 and before[0][1] in RANGED and before[1][1] == "("
    if has_range != is_ranged:
        wrong.append(f"{name} is {'' if has_range else 'not '}given a range")
    is_count = name.endswith(("_total", "_bucket", "_count", "_sum"))
    if is_ranged and is_count == (before[0][1] == "delta"):
        wrong.append(f"{before[0][1]} of {name}")
    return wrong


@pytest.mark.parametrize(
    "expression",
    [
        "desk_nothing > 0",
        'desk_runs{colour="red"}',
        "sum by (colour) (desk_runs)",
        "rate(desk_fills_total)",
        "desk_fills_total[5m]",
        "rate(desk_equity_usdt[5m])",
        "delta(desk_fills_total[5m])",
        "sum(desk_runs",
        "desk_runs) > 0",
        "nonsense(desk_runs)",
        'desk_alerts_open{code="no_such_code"} > 0',
        "desk_runs # 0",
        "1 > 0",
    ],
)
def test_an_expression_that_is_wrong_is_noticed(expression: str) -> None:
    assert problems(expression)


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[sm]", rule["for"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_every_alert_that_is_critical_has_one_rule_and_no_rule_has_two_names() -> None:
    names = [rule["alert"] for rule in rules()]
    by_code = [
        code
        for rule in rules()
        for code in re.findall(r'code="(\w+)", severity="critical"', rule["expr"])
    ]

    assert sorted(names) == sorted(set(names))
    critical = sorted(code.code for code in CODES.values() if "critical" in code.severities)
    assert sorted(by_code) == critical


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


VARIABLES = {"$__rate_interval": "5m", "$account": ".*", "$pair": ".*"}


def expanded(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_there_is_with_unit_and_description(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert problems(expanded(target["expr"])) == [], target["expr"]
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        known = frozenset.union(
            *(served()[name] for name in re.findall(r"\w+", target["expr"]) if name in served())
        )
        assert named <= known, target
        assert target["datasource"]["uid"] == "${datasource}"


def test_the_board_lies_flat_names_its_variables_and_shows_most_of_what_there_is() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    asked = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    used = set(re.findall(r"\$(\w+)", asked)) - {"__rate_interval"}
    assert used <= {variable["name"] for variable in BOARD["templating"]["list"]}
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
            assert label in served()[metric]
    shown = {
        name for name in (*GAUGES, *meters.METERS) if re.search(rf"\b{name}(_bucket)?\b", asked)
    }
    everything = {*GAUGES, *meters.METERS}
    assert len(shown) > 0.8 * len(everything), sorted(everything - shown)


def test_prometheus_is_told_where_the_rules_are_and_gets_no_secret_by_file() -> None:
    told = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())

    assert [(OPS / "prometheus" / name).exists() for name in told["rule_files"]] == [True]
    [job] = told["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert f'up{{job="{job["job_name"]}"}}' in str(RULES)
    assert set(job["authorization"]) == {"type", "credentials_file"}
