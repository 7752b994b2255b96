"""The dashboard is what its source makes, says what it shows, and shows something."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import promql_parser
import pytest

from web.tools import metric_names

SOURCE = Path(__file__).parents[2] / "docs" / "prometheus" / "dashboard.py"
DASHBOARD: dict[str, Any] = json.loads(SOURCE.with_name("dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


BRIDGES = "Bridges to RabbitMQ"


def expressions(*, of_bridges: bool | None = None) -> Iterator[tuple[str, str]]:
    """(title of the panel, expression), of the row of bridges or of all others, or of all."""
    row = ""
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        elif of_bridges is None or (row == BRIDGES) is of_bridges:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


def with_values(expression: str, interval: str = "1m", job: str = "paceline") -> str:
    """As Grafana sends it."""
    values = {"$__rate_interval": interval, "$__range": interval, "$job": job, "$instance": ".+"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    return expression


def source() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paceline_dashboard", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_its_source_makes() -> None:
    assert SOURCE.with_name("dashboard.json").read_text() == source().build(), "run ./dev dashboards"


def test_its_rows_are_in_the_order_in_which_one_looks() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Overview", "Dispatch latency", "Queues", "Nodes", "Elections and replication"),
        *("Tasks by name", "Dead tasks", "Schedules"),
        BRIDGES,
    ]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_title_a_unit_and_a_description(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 10
    assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    assert all(target["legendFormat"] for target in panel["targets"])


def test_data_source_job_and_instance_can_be_chosen() -> None:
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    for _, expression in expressions():
        assert expression.count("{") - expression.count('{job=~"$job"') == 0, expression


def test_rates_are_taken_over_the_interval_that_grafana_works_out() -> None:
    for _, expression in expressions():
        assert set(re.findall(r"\[(.*?)\]", expression)) <= {"$__rate_interval", "$__range"}, expression
        assert set(re.findall(r"rate\(\w+\{.*?\}\[(.*?)\]", expression)) <= {"$__rate_interval"}, expression


def test_every_expression_can_be_parsed_and_names_no_metric_that_there_is_not() -> None:
    known = metric_names()
    for _, expression in expressions():
        promql_parser.parse(with_values(expression))
        assert set(re.findall(r"paceline_\w+", expression)) <= known, expression
