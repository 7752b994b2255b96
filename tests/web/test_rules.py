"""The alerts fire when they should, as promtool says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from web.tools import metric_names, tool

PROMETHEUS = Path(__file__).parents[2] / "docs" / "prometheus"
RULES = PROMETHEUS / "rules.yml"
RULES_TEST = Path(__file__).with_name("prometheus") / "rules_test.yml"


def promtool(*arguments: str | Path, data: bytes | None = None) -> str:
    done = subprocess.run(
        [tool("promtool"), *map(str, arguments)], input=data, capture_output=True, timeout=60, check=False
    )
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, text
    return text


def test_the_rules_are_valid_and_each_alert_fires_when_it_should() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", RULES_TEST)


def test_the_example_of_a_configuration_is_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_example_lists_nothing_that_not_everybody_has() -> None:
    """Whoever copies it and has no bridge would be woken by a bridge that does not answer."""
    jobs = re.findall(r"^  - job_name: (\w+)", (PROMETHEUS / "prometheus.yml").read_text(), flags=re.MULTILINE)
    assert jobs == ["paceline"]


def test_no_alert_goes_on_after_what_it_tells_of_has_ended() -> None:
    assert "keep_firing_for" not in RULES.read_text()


def test_every_alert_and_every_recorded_rate_is_tested() -> None:
    tested = RULES_TEST.read_text()
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert names
    for name in names:
        samples = re.findall(rf'alertname="{name}",alertstate="firing"}}\n\s+eval_time: \S+\n\s+exp_samples:\n', tested)
        assert samples, f"{name} fires in no test"
    for name in re.findall(r"- record: (\S+)", RULES.read_text()):
        assert name.startswith("instance:") or name in tested, name


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES.read_text().split("- alert: ")[1:]:
        assert "severity: " in rule
        assert re.search(r"summary: .*[.;]", rule)
        assert re.search(r"description: .{30,}\.", rule)


def test_the_rules_name_no_metric_that_there_is_not() -> None:
    recorded = set(re.findall(r"(?:job|instance):(\w+):", RULES.read_text()))
    used = set(re.findall(r"(?<![\w:])paceline_\w+", RULES.read_text()))
    assert used - metric_names() - recorded == set()
