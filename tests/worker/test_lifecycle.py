"""How a worker starts and ends, and when its outcomes leave. Real processes; each wait has a deadline."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paceline.worker.ending import EXIT_KEPT
from paceline.worker.main import EXIT_LINK_CLOSED
from paceline_protocol.codec import decode_defaults, encode
from paceline_protocol.limits import MAX_DEFAULTS_BYTES, MAX_TASK_NAMES
from paceline_protocol.messages.children import CleaningUp, Done, Run, Stop, WorkerFailed
from paceline_protocol.messages.records import Outcome, TaskEnd
from paceline_protocol.payload import unpack_value
from worker.played_node import DEADLINE_S, SAMPLE_TASKS, Nodes, PlayedNode, readable


def open_fifo(path: Path, flags: int) -> int:
    """Blocks until the task opens the other end; the timeout of the test is the deadline."""
    return os.open(path, flags)


# --- starting ---------------------------------------------------------------------------------------------------


def test_a_ready_worker_says_which_tasks_it_can_run(nodes: Nodes) -> None:
    node, ready = nodes.start_ready(str(SAMPLE_TASKS))
    assert ready.pid == node.child.pid
    assert "sample_tasks.add" in ready.names
    assert list(ready.names) == sorted(ready.names)


def test_a_ready_worker_says_what_its_tasks_were_decorated_with(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "asking_tasks.py"
    module.write_text(
        "from paceline import task\n\n@task\ndef a(): ...\n\n@task(retries=3, priority=8)\ndef b(): ...\n"
    )
    _, ready = nodes.start_ready(str(module))
    assert decode_defaults(ready.defaults) == [("asking_tasks.b", 8, {"retries": 3})]


def test_a_worker_whose_tasks_ask_for_more_than_a_node_can_announce_says_so(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "asking_tasks.py"
    module.write_text(
        "from paceline import task\n\ndef f(): ...\n\n"
        "errors = ['E' * 490]\n"
        "for number in range(9_000):\n"
        "    task(name=f't{number}', retries=1, retry_on=errors)(f)\n"
    )
    failed = nodes.start(str(module)).receive(WorkerFailed)
    assert "with it the names and options of all tasks take 46" in failed.error
    assert f"and a node announces at most {MAX_DEFAULTS_BYTES}; give some of the modules to other nodes" in failed.error


def test_a_dotted_module_is_found_in_the_current_directory(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "prices.py").write_text(
        "from paceline.worker.registry import task\n\n@task\ndef total(*prices): return sum(prices)\n"
    )
    monkeypatch.chdir(tmp_path)
    node, ready = nodes.start_ready("shop.prices")
    assert ready.names == ("shop.prices.total",)
    assert node.result("shop.prices.total", 1, 2, 3) == 6


def test_every_module_is_loaded(nodes: Nodes, tmp_path: Path) -> None:
    other = tmp_path / "other_tasks.py"
    other.write_text("from paceline.worker.registry import task\n\n@task(name='zero')\ndef nothing(): return 0\n")
    node, ready = nodes.start_ready(str(SAMPLE_TASKS), str(other))
    assert {"sample_tasks.add", "zero"} <= set(ready.names)
    assert node.result("zero") == 0


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_a_module_that_does_not_import_is_reported_and_ends_the_worker(
    nodes: Nodes, tmp_path: Path, code: str, error: str
) -> None:
    module = tmp_path / "broken_tasks.py"
    module.write_text(code + "\n")
    node = nodes.start(str(module))
    failed = node.receive(WorkerFailed)
    assert failed.pid == node.child.pid
    assert failed.module == str(module)
    assert error in failed.error
    assert "broken_tasks.py" in failed.error + failed.traceback  # a SyntaxError itself says where it is
    assert "importlib" not in failed.traceback
    assert node.wait_end() == "exit code 3"


def test_a_module_that_does_not_exist_is_reported_without_a_traceback(nodes: Nodes) -> None:
    node = nodes.start("no_such_module_anywhere")
    failed = node.receive(WorkerFailed)
    assert failed.error == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    assert failed.traceback == ""
    assert node.wait_end() == "exit code 3"


def test_two_tasks_of_one_name_are_reported_with_both_places_and_without_a_traceback(
    nodes: Nodes, tmp_path: Path
) -> None:
    module = tmp_path / "double_tasks.py"
    module.write_text("from paceline import task\ndef f(): ...\ndef g(): ...\ntask(name='a')(f)\ntask(name='a')(g)\n")
    failed = nodes.start(str(module)).receive(WorkerFailed)
    assert f"f ({module}:2) and g ({module}:3)" in failed.error
    assert failed.traceback == ""


@pytest.mark.parametrize(
    ("use", "what"),
    [
        ("Cluster.local('no_such_module_anywhere')", "Cluster.local()"),
        ("Cluster([], 1, None)", "Cluster.local()"),
        ("Client('127.0.0.1:1').connect()", "a client of the cluster"),
        ("Client('127.0.0.1:1').submit('add', 2, 3)", "a client of the cluster"),
        ("list(Client('127.0.0.1:1').map('add', [2]))", "a client of the cluster"),
        ("Client('127.0.0.1:1').status()", "a client of the cluster"),
        ("task(len).submit('two')", "a client of the cluster"),
        ("list(task(len).map(['two']))", "a client of the cluster"),
    ],
)
def test_a_module_that_uses_a_cluster_while_it_is_imported_is_refused_with_the_line_and_what_to_write(
    nodes: Nodes, tmp_path: Path, use: str, what: str
) -> None:
    module = tmp_path / "eager_tasks.py"
    module.write_text(f"from paceline import Client, Cluster, task\n\n{use}\n")
    failed = nodes.start(str(module)).receive(WorkerFailed)
    assert f"UsedWhileImporting: line 3 of {module} uses {what} while a worker imports {module}" in failed.error
    assert failed.error.endswith('if __name__ == "__main__":')
    assert failed.traceback == ""


def test_a_module_finds_no_thread_beside_its_own_and_may_patch_the_standard_library(
    nodes: Nodes, tmp_path: Path
) -> None:
    """As gevent's patch_all() does, which fails at any other thread that it finds; and the node's end is noticed."""
    module = tmp_path / "patching_tasks.py"
    module.write_text(
        "import select, threading\n"
        "assert threading.enumerate() == [threading.main_thread()]\n"
        "select.poll = threading.Lock = threading.Thread = None\n"
        "from paceline import task\n"
        "@task\n"
        "def f(): ...\n"
    )
    node, ready = nodes.start_ready(str(module))
    assert ready.names == ("patching_tasks.f",)
    node.child.link.shutdown(socket.SHUT_RDWR)
    assert node.wait_end() in ("exit code 4", "exit code 0")  # by the thread, or by the main one that reads the end


def test_a_module_may_make_a_client_that_it_uses_later(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "later_tasks.py"
    module.write_text("from paceline import Client, task\nclient = Client()\n\n@task\ndef f(): ...\n")
    _node, ready = nodes.start_ready(str(module))
    assert ready.names == ("later_tasks.f",)


@pytest.mark.parametrize("imports_them", [False, True])
def test_files_with_names_of_the_standard_library_beside_the_tasks_do_not_reach_the_client(
    nodes: Nodes, tmp_path: Path, imports_them: bool
) -> None:
    for name in ("random", "asyncio", "secrets"):
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    (tmp_path / "concurrent").mkdir()
    (tmp_path / "concurrent" / "__init__.py").write_text("mine = True\n")
    module = tmp_path / "shadowed_tasks.py"
    first = "import random, secrets, concurrent\n" if imports_them else ""
    module.write_text(
        f"{first}from paceline import task\n\n"
        "@task\ndef use():\n"
        "    from paceline import Client\n"
        "    Client('127.0.0.1:1').close()\n"
        "    import random, concurrent\n"
        f"    return hasattr(random, 'mine'), hasattr(concurrent, 'mine')\n\n"
        "@task\nasync def later():\n    return 5\n"
    )
    node, _ready = nodes.start_ready(str(module))
    assert node.result("shadowed_tasks.later") == 5
    own, own_package = node.result("shadowed_tasks.use")
    assert not imports_them or (own and own_package)


def test_more_tasks_than_a_node_runs_are_refused_with_the_limit(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "many_tasks.py"
    module.write_text(
        "from paceline import task\ndef f(): ...\n"
        f"for number in range({MAX_TASK_NAMES + 1}):\n    task(name=f't{{number}}')(f)\n"
    )
    node = nodes.start(str(module))
    failed = node.receive(WorkerFailed)
    assert f"there are {MAX_TASK_NAMES + 1} tasks, and a node runs at most {MAX_TASK_NAMES}" in failed.error
    assert failed.traceback == ""


# --- ending -----------------------------------------------------------------------------------------------------


def test_a_worker_whose_module_leaves_a_thread_as_it_fails_ends_all_the_same(nodes: Nodes, tmp_path: Path) -> None:
    """Python waits for such threads as it exits, and the node for the worker, in whose place another is to start."""
    module = tmp_path / "threaded.py"
    module.write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\nraise ImportError('as if')\n"
    )
    node = nodes.start(str(module))
    assert "as if" in node.receive(WorkerFailed).error
    assert node.wait_end() == f"exit code {EXIT_KEPT}"


def test_stop_ends_a_worker_after_what_it_runs(sample: PlayedNode) -> None:
    sample.send(Run((sample.assignment("sample_tasks.add", 2, 3),)))
    sample.send(Stop())
    (outcome,) = sample.receive(Done).outcomes
    assert unpack_value(outcome[3]) == 5
    assert sample.wait_end() == "exit code 0"


def test_a_crash_is_told_with_its_exit_code(sample: PlayedNode) -> None:
    sample.send(Run((sample.assignment("sample_tasks.crash", 9),)))
    assert sample.wait_end() == "exit code 9"


def test_a_worker_whose_descriptors_a_task_closed_has_an_exit_code_of_its_own(sample: PlayedNode) -> None:
    sample.send(Run((sample.assignment("sample_tasks.close_descriptors"),)))
    assert sample.wait_end() == f"exit code {EXIT_LINK_CLOSED}"


def test_a_signal_is_told_by_name(sample: PlayedNode) -> None:
    sample.send(Run((sample.assignment("sample_tasks.die", int(signal.SIGSEGV)),)))
    assert sample.wait_end() == "killed by SIGSEGV"


def test_a_worker_ends_when_its_node_closes_the_link(sample: PlayedNode) -> None:
    sample.child.link.shutdown(socket.SHUT_RDWR)
    assert sample.wait_end() in ("exit code 0", "exit code 4")  # by its two threads: either may be the first to see it


def test_the_end_of_the_link_ends_a_worker_in_the_middle_of_a_task(sample: PlayedNode, tmp_path: Path) -> None:
    written, awaited = tmp_path / "written", tmp_path / "awaited"
    os.mkfifo(written)
    os.mkfifo(awaited)
    sample.send(Run((sample.assignment("sample_tasks.announce_and_wait", str(written), str(awaited)),)))
    os.close(open_fifo(written, os.O_RDONLY))
    sample.child.link.shutdown(socket.SHUT_RDWR)
    assert sample.wait_end() == "exit code 4"


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open")
def test_workers_end_with_a_node_that_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from paceline.runtime.children.worker_pool import WorkerPool\n"
        f"pool = WorkerPool(size=2, modules=({str(SAMPLE_TASKS)!r},), payload_limit_bytes=1000)\n"
        "pool.start()\n"
        "print(*(child.pid for child in pool.workers.values()), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        assert readable(node.stdout.fileno())
        fds = [os.pidfd_open(int(pid)) for pid in node.stdout.readline().split()]
        node.kill()
        node.wait(DEADLINE_S)
        assert len(fds) == 2
        for fd in fds:
            assert readable(fd), "a worker outlived its node"
            os.close(fd)


@pytest.mark.parametrize("left_by", ["leave_alarm", "leave_alarm_and_raise", "leave_alarm_later"])
def test_an_alarm_that_a_task_leaves_behind_strikes_neither_its_worker_nor_another_task(
    sample: PlayedNode, left_by: str
) -> None:
    """Neither while that waits for its node, nor between two tasks of a batch, nor in one of them."""
    sample.run(f"sample_tasks.{left_by}", 0.05)
    time.sleep(0.1)
    assert sample.result("sample_tasks.add", 2, 3) == 5
    leaves = [sample.assignment(f"sample_tasks.{left_by}", 0.001) for _ in range(50)]
    others = [sample.assignment("sample_tasks.add", 2, 3) for _ in range(50)]
    sample.send(Run((*leaves, *others)))
    outcomes: list[Outcome] = []
    while len(outcomes) < 100:
        outcomes += sample.receive(Done).outcomes
    assert {outcome[2] for outcome in outcomes[50:]} == {TaskEnd.SUCCEEDED}


def test_an_alarm_without_a_handler_that_a_task_leaves_as_it_fails_does_not_end_its_worker(
    sample: PlayedNode,
) -> None:
    assert sample.error("sample_tasks.leave_bare_alarm_and_raise", 0.1).type_name == "ValueError"
    time.sleep(0.2)
    assert sample.result("sample_tasks.add", 2, 3) == 5


@pytest.mark.parametrize("restores", [False, True])
def test_nor_does_one_that_a_task_leaves_as_it_returns(sample: PlayedNode, restores: bool) -> None:
    sample.run("sample_tasks.leave_bare_alarm", 60.0, restores)
    assert sample.result("sample_tasks.left_alarm_s") == 0.0


def test_of_many_tasks_that_come_together_none_is_struck_by_the_alarm_of_another(sample: PlayedNode) -> None:
    """Neither one that its worker does not know yet, nor one that it knows to be short."""
    for _ in range(2):
        sample.send(
            Run(
                tuple(
                    sample.assignment(f"sample_tasks.{name}", *args)
                    for name, *args in [("leave_bare_alarm", 60.0), ("left_alarm_s",)] * 20
                )
            )
        )
        outcomes: list[Outcome] = []
        while len(outcomes) < 40:
            outcomes += sample.receive(Done).outcomes
        assert {unpack_value(outcome[3]) for outcome in outcomes[1::2]} == {0.0}


def test_nor_does_one_that_is_set_by_what_an_async_task_has_left(sample: PlayedNode) -> None:
    sample.run("sample_tasks.leave_bare_alarm_behind", 0.1, kind=CleaningUp)
    sample.cleaned_up()
    time.sleep(0.2)
    assert sample.result("sample_tasks.add", 2, 3) == 5


def test_an_alarm_that_strikes_within_its_own_task_is_how_that_ends(sample: PlayedNode) -> None:
    assert sample.error("sample_tasks.leave_alarm", 0.01, 10.0).type_name == "TimeIsUp"
    assert sample.result("sample_tasks.add", 2, 3) == 5


# --- when outcomes leave ----------------------------------------------------------------------------------------


def test_finished_tasks_are_not_held_back_by_one_that_is_not_known_to_be_short(
    sample: PlayedNode, tmp_path: Path
) -> None:
    written, awaited = tmp_path / "written", tmp_path / "awaited"
    os.mkfifo(written)
    os.mkfifo(awaited)
    short = [sample.assignment("sample_tasks.add", number, 0) for number in range(3)]
    long = sample.assignment("sample_tasks.announce_and_wait", str(written), str(awaited))
    last = sample.assignment("sample_tasks.add", 3, 0)
    sample.send(Run((*short, long, last)))
    early: list[bytes] = []
    while len(early) < len(short):  # arrives while the long task waits for this test
        early += [outcome[0] for outcome in sample.receive(Done).outcomes]
    assert early == [assignment[0] for assignment in short]

    os.close(open_fifo(written, os.O_RDONLY))
    os.close(open_fifo(awaited, os.O_WRONLY))
    late: list[bytes] = []
    while len(late) < 2:
        late += [outcome[0] for outcome in sample.receive(Done).outcomes]
    assert late == [long[0], last[0]]


def test_what_a_task_has_left_is_ended_before_another_task_begins_and_that_is_answered_at_once(
    sample: PlayedNode, tmp_path: Path
) -> None:
    """So the node sees that what stands behind that task does not run yet, and when it may."""
    told, (written, awaited) = tmp_path / "told", (tmp_path / "written", tmp_path / "awaited")
    os.mkfifo(written)
    os.mkfifo(awaited)
    first = sample.assignment("sample_tasks.add", 2, 3)
    leaves = sample.assignment("sample_tasks.leave_stubborn", str(told))
    last = sample.assignment("sample_tasks.announce_and_wait", str(written), str(awaited))
    sample.send(Run((first, leaves, last)))
    early = [*sample.receive(Done).outcomes, *sample.receive(CleaningUp).outcomes]
    assert [(outcome[0], outcome[2]) for outcome in early] == [(each[0], TaskEnd.SUCCEEDED) for each in (first, leaves)]
    numbers = sample.child.begun_tasks
    assert numbers is None or numbers.begun == 2
    told.touch()
    assert sample.receive(Done).outcomes == ((leaves[0], 1, TaskEnd.CANCELLED, b"", 0),)
    os.close(open_fifo(written, os.O_RDONLY))
    os.close(open_fifo(awaited, os.O_WRONLY))
    assert [outcome[0] for outcome in sample.receive(Done).outcomes] == [last[0]]


def test_large_outcomes_leave_before_they_fill_a_frame(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "blobs.py"
    module.write_text("from paceline.worker.registry import task\n\n@task\ndef blob(): return bytes(90_000)\n")
    node, _ = nodes.start_ready(str(module))
    count = 40
    node.send(Run(tuple(node.assignment("blobs.blob") for _ in range(count))))
    sizes: list[int] = []
    outcomes = 0
    while outcomes < count:
        done = node.receive(Done)
        sizes.append(len(encode(done)))
        outcomes += len(done.outcomes)
    assert max(sizes) < 1024 * 1024 + 100_000
