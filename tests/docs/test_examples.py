"""The examples of the pages that say that they are run: each as a script of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modes import source_only

DOCS = Path(__file__).parents[2] / "docs"
MARK = "# tests/docs/test_examples.py runs this\n"
EXAMPLE = re.compile(r"```python\n([^`]*__main__[^`]*)```\n\nIt prints:\n\n```\n([^`]*)```", re.DOTALL)
SAYS = {
    "fetching.py": "https://example.org answered attempt 3\nnot tried again: https://example.org does not answer\n",
    "squares.py": "121\n333283335000\n4\nValueError('7 is odd')\n3\n{'a': 9, 'b': [16]}\n2 0\n",
    "orders.py": "True\nFalse\n",
    "pool.py": "55\n[11, 22, 33]\n42\n",
    "polling.py": "job 7 is done\nno answer to attempt 3\nConnectionError: no answer to attempt 1\n"
    "ConnectionError: no answer to attempt 2\nexample is no page 0\n",
    "convert.py": "the first pages\nits worker was killed after 1 s\nTrue\n",
    "report.py": "the report of 2026-11\nsucceeded\n",
    "shop.py": "2 shop.charge ValueError\nValueError: no such order: ?1 ('?1',) 3\ncharged 1\n",
    "load.py": "5 True 1\n5 1.0\nloaded row 5\n",
    "prices.py": "Price(amount=Decimal('3.75'), currency=<Currency.EUR: 'EUR'>)\n",
    "pages.py": "5\npage 49 True\nat once\n",
    "models.py": "[1, 1, 1, 1, 1, 1, 1, 1]\nTrue\n",
    "shelf.py": "45\nno node that runs shelf.fetch has what it asks for, tags tape and needs robot=1\n"
    "{'shelf.fetch with tags tape and needs robot=1': 1}\n8\n",
    "studio.py": "45 0\nvideo 40 paused\ndefault 0 \n780\n",
    "tenants.py": "10 True\n7\n",
    "report_parts.py": "published sums: 20\nValueError('there is no part -1')\n3 of 4\n",
    "nightly_build.py": "4950\n104 103 1 False\nTaskCancelled\n103 1\n",
    "backlog.py": "['done']\nsomebody holds it\n"
    "{'done': 12, 'running': 0, 'ended': 0, 'not_yet': 0, 'unlogged': 0, 'full': 0, 'depends': 0}\n"
    "{'done': 12, 'running': 0, 'ended': 0, 'not_yet': 0, 'unlogged': 0, 'full': 0, 'depends': 0}\n77 False\n1\n",
    "embeddings.py": "(1, 3)\n(2, 3)\nthere is no text\n(4, 3)\n(5, 3)\n(6, 3)\n",
    "limits.py": (
        "1 False\n"
        "nodes have 2 tasks of limits.export with limit_key 'acme', and may have 2 at a time (max_running)\n"
        "78\nTrue\n"
    ),
    "late.py": "True\nTrue\n['done', 'done']\n",
    "beat.py": "night!\ntick!\nbeat beat.beat every 0:00:01 True\nnightly beat.beat 0 2 * * * (Europe/Berlin) False\n",
    "stock.py": "south stock stock every 0:00:02\nstock.clean_up stock every 0:00:01\n"
    "stock.count_stock stock every 0:00:01\n",
    "searching.py": "dispatched dispatched\nTrue it stopped when it was asked to\ndispatched\n",
    "reports.py": "2 2 1\nrunning running waiting waiting delayed\n"
    "all 2 workers that can run it are busy; 0 of the 2 tasks that wait have a higher priority\n"
    "{'cancelled': 3, 'stopping': 0, 'running': 0, 'ended': 0}\n"
    "{'cancelled': 0, 'stopping': 2, 'running': 0, 'ended': 0}\n"
    "TaskCancelled TaskCancelled TaskCancelled TaskCancelled TaskCancelled\n()\n",
}
"""The file that the page has the example put into, which is named last before it -> what it prints."""
PATIENT = "searching.py"
"""The example that waits until a client counts as gone, which takes a minute."""
IMPATIENT_NODES = """
import sys

if {"paceline", "node"} <= set(sys.orig_argv):
    from dataclasses import replace
    from paceline.runtime import core_at_start

    settings_of = core_at_start.settings_of
    core_at_start.settings_of = lambda config: replace(settings_of(config), session_timeout_s=2.0)
"""
"""What Python runs as it starts, for an example whose nodes are to wait two seconds in place of that minute."""


def examples() -> dict[str, str]:
    found: dict[str, str] = {}
    for page in sorted(DOCS.glob("*.md")):
        for match in re.finditer(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            if match[1].startswith(MARK):
                found[re.findall(r"`(\w+\.py)`", page.read_text()[: match.start()])[-1]] = match[1]
    return found


def test_every_example_that_is_said_to_be_run_is() -> None:
    assert examples().keys() == SAYS.keys()


def does_what_the_page_says(name: str, directory: Path, environment: dict[str, str]) -> None:
    (directory / name).write_text(examples()[name])
    done = subprocess.run(
        [sys.executable, name],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, SAYS[name]), done.stderr


@pytest.mark.parametrize("name", [name for name in SAYS if name != PATIENT])
def test_an_example_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    does_what_the_page_says(name, tmp_path, {})


@source_only
def test_an_example_that_waits_for_a_minute_does_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "at_start").mkdir()
    (tmp_path / "at_start" / "sitecustomize.py").write_text(IMPATIENT_NODES)
    paths = [str(tmp_path / "at_start"), *filter(None, [os.environ.get("PYTHONPATH")])]
    does_what_the_page_says(PATIENT, tmp_path, {"PYTHONPATH": os.pathsep.join(paths)})


def test_what_the_page_prints_of_its_listing_is_what_the_example_does() -> None:
    assert f"```\n{SAYS['reports.py']}```" in (DOCS / "tasks.md").read_text()


def test_what_is_cancelled_while_it_runs_ends_as_the_page_says(tmp_path: Path) -> None:
    (found,) = [each for each in EXAMPLE.findall((DOCS / "tasks.md").read_text()) if "cancel_grace" in each[0]]
    program, printed = found
    script = tmp_path / "cancelling.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
