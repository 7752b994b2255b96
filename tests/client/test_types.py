"""What a type checker says of calls: the arguments and the result of a task are known however it is submitted."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

mypy = pytest.importorskip("mypy.api")

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from paceline import Client, NamedTask, task

@task
def add(a: int, b: int = 1) -> int:
    return a + b

@task(priority=9)
async def fetch(url: str) -> bytes:
    return url.encode()

client = Client()
reveal_type(add(2, 3))  # int
reveal_type(client.submit(add, 2, 3))  # Future[int]
reveal_type(client.submit(add, a=2).result())  # int
reveal_type(client.submit(add.options(priority=9), 2))  # Future[int]
reveal_type(client.submit(fetch, "http://x"))  # Future[bytes]
reveal_type(client.submit("tasks.add", 2, "3"))  # Future[Any]
reveal_type(client.submit(NamedTask("tasks.add", priority=9), 2, x=3))  # Future[Any]
reveal_type(client.map(add, [1], [2]))  # Mapped[int]
reveal_type(client.map(fetch, ["a"], window=9))  # Mapped[bytes]
reveal_type(client.map("tasks.add", [1]))  # Mapped[Any]
reveal_type(client.imap_unordered(add, [1], [2]))  # Unordered[int]
reveal_type(add.submit(2, 3))  # Future[int]
reveal_type(add.options(max_attempts=2).submit(2).result())  # int
reveal_type(fetch.submit("http://x"))  # Future[bytes]
reveal_type(add.map([1], [2]))  # Mapped[int]
reveal_type(fetch.map(["a"], window=5))  # Mapped[bytes]
reveal_type(add.imap_unordered([1], [2], return_exceptions=True))  # Unordered[int]

async def waits() -> None:
    reveal_type(await client.submit(fetch, "http://x"))  # bytes

client.submit(add, "2", 3)  # error
client.submit(add)  # error
client.submit(add, 2, 3, 4)  # error
client.submit(add, 2, c=3)  # error
client.submit(fetch, 2)  # error
client.submit(add.options(priority=9), "2")  # error
client.submit(len, [1])  # error
client.submit(3)  # error
client.map(len, [[1]])  # error
add.submit("2")  # error
fetch.submit()  # error
add.options(prio=9)  # error
add.map([1], widow=5)  # error
text: str = client.submit(add, 2).result()  # error
"""


def test_a_checker_knows_the_arguments_and_the_result_of_a_task_however_it_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    monkeypatch.setenv("MYPYPATH", ":".join(str(REPOSITORY / each) for each in ("node", "protocol")))
    options = ["--config-file", "", "--strict", "--explicit-package-bases", "--python-executable", sys.executable]
    output, errors, _ = mypy.run([*options, "--cache-dir", str(tmp_path / "cache"), str(path)])
    assert errors == ""
    found: dict[int, list[str]] = {}
    for line in output.splitlines():
        if said := re.match(r".*program\.py:(\d+): (\w+): (.*)", line):
            found.setdefault(int(said[1]), []).append(f"{said[2]}: {said[3]}")
    for number, line in enumerate(PROGRAM.splitlines(), 1):
        code, _, expected = line.partition("  # ")
        said = found.get(number, [])
        if expected == "error":
            assert any(each.startswith("error: ") for each in said), f"no error: {code}"
        elif expected:
            bare = [re.sub(r"\b(\w+\.)+", "", each) for each in said]  # versions of mypy differ in how they name types
            assert bare == [f'note: Revealed type is "{expected}"'], code
        else:
            assert not said, code
