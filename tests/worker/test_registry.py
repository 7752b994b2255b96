"""Which functions become tasks, under which names, and how modules of tasks are loaded."""

from __future__ import annotations

import copy
import errno
import functools
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import paceline.client
from paceline.errors import ConfigError, DuplicateTaskName
from paceline.options import TaskOptions
from paceline.worker import registry
from paceline.worker.registry import Task, check_module, load_module, task
from paceline_protocol.codec import decode_defaults, encode_defaults

HERE = __name__


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Task[..., Any]]:
    """An empty registry for each test."""
    fresh: dict[str, Task[..., Any]] = {}
    monkeypatch.setattr(registry, "tasks", fresh)
    return fresh


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with nothing in it; what is imported and put on sys.path is forgotten after the test."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, code: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("from paceline.worker.registry import task\n" + code)
    return path


def greet(name: str, *, loud: bool = False) -> str:
    """Say hello."""
    return f"hello {name}".upper() if loud else f"hello {name}"


def part(name: str) -> str:
    return name


picklable = task(greet)

ADD = "@task\ndef add(a, b): return a + b\n"


# --- the decorator ----------------------------------------------------------------------------------------------


def test_a_task_is_still_the_function() -> None:
    registered = task(greet)
    assert registered("you") == "hello you"
    assert registered("you", loud=True) == "HELLO YOU"
    assert registered.function is greet
    assert (registered.__name__, registered.__doc__, registered.__module__) == ("greet", "Say hello.", HERE)
    assert repr(registered) == f"<task {HERE}.greet>"


def test_a_task_is_named_for_its_module_and_function(tasks: dict[str, Task[..., Any]]) -> None:
    registered = task(greet)
    assert registered.name == f"{HERE}.greet"
    assert tasks == {registered.name: registered}
    assert (registered.priority, registered.chosen.max_attempts) == (4, None)


def test_name_priority_and_attempts_can_be_given(tasks: dict[str, Task[..., Any]]) -> None:
    registered = task(name="greeting", priority=9, max_attempts=1)(greet)
    assert (registered.name, registered.priority, registered.chosen.max_attempts) == ("greeting", 9, 1)
    assert list(tasks) == ["greeting"]


def test_an_attribute_of_the_function_does_not_replace_one_of_the_task() -> None:
    @functools.wraps(greet)
    def labelled(name: str) -> str:
        return name

    labelled.name = "other"  # type: ignore[attr-defined]
    assert task(labelled).name == f"{HERE}.greet"


def test_options_change_a_call_and_not_the_task(tasks: dict[str, Task[..., Any]]) -> None:
    registered = task(max_attempts=2)(greet)
    urgent = registered.options(priority=9)
    assert (urgent.name, urgent.priority, urgent.chosen.max_attempts) == (registered.name, 9, 2)
    assert registered.priority == 4
    assert tasks[registered.name] is registered
    with pytest.raises(ConfigError, match="priority 10"):
        registered.options(priority=10)


def test_submit_and_map_go_to_the_current_client(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class PlayedClient:
        def submit(self, *args: Any, **kwargs: Any) -> str:
            calls.append((args, kwargs))
            return "a future"

        def map(self, *args: Any, **bounds: Any) -> Iterator[str]:
            calls.append((args, bounds))
            return iter(["a result"])

        imap_unordered = map

    monkeypatch.setattr(paceline.client, "current_client", PlayedClient, raising=False)
    registered: Any = task(greet)
    assert registered.submit("you", loud=True) == "a future"
    assert list(registered.map(["you"])) == ["a result"]
    assert list(registered.imap_unordered(["you"], window=5)) == ["a result"]
    assert calls == [
        ((registered, "you"), {"loud": True}),
        ((registered, ["you"]), {}),
        ((registered, ["you"]), {"window": 5}),
    ]


def test_a_task_is_pickled_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules.get(HERE) or _this_module())
    monkeypatch.setattr(sys.modules[HERE], "greet", picklable)  # as the decorator leaves it
    assert pickle.loads(pickle.dumps(picklable)) is picklable
    assert copy.deepcopy(picklable) is picklable
    assert pickle.loads(pickle.dumps(picklable.options(priority=8))).priority == 8


def _this_module() -> ModuleType:
    module = ModuleType(HERE)
    module.__dict__.update(globals())
    return module


# --- what can't be a task ---------------------------------------------------------------------------------------


def local_function() -> Callable[..., Any]:
    def local() -> None: ...

    return local


@pytest.mark.parametrize("function", [local_function(), lambda: None])
@pytest.mark.parametrize("name", [None, "named"])
def test_what_importing_the_module_does_not_create_is_refused(function: Callable[..., Any], name: str | None) -> None:
    with pytest.raises(ConfigError, match="move it to module level"):
        task(name=name)(function)


@pytest.mark.parametrize("thing", [Path, 5, functools.partial(greet, "you")])
def test_only_functions_are_tasks(thing: Any) -> None:
    with pytest.raises(ConfigError, match="@task is for functions"):
        task(thing)


def test_an_option_that_there_is_not_is_a_type_error_as_of_any_function() -> None:
    for given in (task, picklable.options, functools.partial(paceline.client.NamedTask, "a")):
        with pytest.raises(TypeError, match="priorty") as caught:
            given(priorty=3)  # type: ignore[operator]
        assert "TaskOptions" not in str(caught.value)


def test_what_ends_whoever_looks_at_it_is_refused_by_name() -> None:
    class Leaving:
        def __repr__(self) -> str:
            raise SystemExit(3)

    with pytest.raises(ConfigError, match=r"priority of type .*Leaving can't be used"):
        picklable.options(priority=Leaving())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"of type .*Leaving is not a task"):
        paceline.client.targets.parts_of(Leaving())


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "n" * 201, 5, b"bytes"])
def test_bad_names_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="can't name a task"):
        task(name=name)(greet)


@pytest.mark.parametrize("priority", [-1, 10, True, 4.0, None])
def test_bad_priorities_are_refused(priority: Any) -> None:
    with pytest.raises(ConfigError, match="from 0 to 9"):
        task(priority=priority)(greet)


@pytest.mark.parametrize("max_attempts", [0, -1, True, 1.5])
def test_bad_attempts_are_refused(max_attempts: Any) -> None:
    with pytest.raises(ConfigError, match="from 1, or None"):
        task(max_attempts=max_attempts)(greet)


# --- one name, one function -------------------------------------------------------------------------------------


def test_another_function_under_the_same_name_is_refused() -> None:
    task(name="same")(greet)
    with pytest.raises(DuplicateTaskName) as raised:
        task(name="same")(part)
    assert raised.value.name == "same"
    assert "greet (" in str(raised.value)
    assert "part (" in str(raised.value)


def test_the_same_function_may_register_again(importing: Path, tasks: dict[str, Task[..., Any]]) -> None:
    module = load_module(str(write(importing / "twice.py", ADD)))
    first = tasks["twice.add"]
    importlib.reload(module)
    assert tasks["twice.add"] is not first


def test_a_module_that_was_edited_may_be_reloaded(
    importing: Path, tasks: dict[str, Task[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook. A function may have moved, or another one may have its name by now."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the clock of a file system may not tell two writes apart
    named = "@task(name='total')\ndef {}(*prices): return sum(prices)\n"
    module = load_module(str(write(importing / "notes.py", ADD + named.format("total"))))
    for edited in ("# a comment\n" + ADD + named.format("sum_up"), ADD.replace("a + b", "b + a") + named.format("f")):
        write(importing / "notes.py", edited)
        importlib.reload(module)
        assert tasks["notes.add"] is module.add
        assert tasks["total"].function(1, 2) == 3
    with pytest.raises(DuplicateTaskName):
        importlib.reload(load_module(str(write(importing / "notes.py", "# a comment\n" + ADD + ADD))))


def test_a_module_that_is_imported_anew_replaces_its_tasks(importing: Path, tasks: dict[str, Task[..., Any]]) -> None:
    load_module(str(write(importing / "notes.py", ADD)))
    del sys.modules["notes"]
    with pytest.raises(ZeroDivisionError):
        load_module(str(write(importing / "notes.py", "# moved\n" + ADD + "1 / 0\n")))
    module = load_module(str(write(importing / "notes.py", "# moved\n# again\n" + ADD)))
    assert tasks["notes.add"] is module.add


def test_a_function_of_another_file_does_not_take_the_name_of_a_module_that_was_imported_anew(importing: Path) -> None:
    load_module(str(write(importing / "notes.py", "@task(name='total')\ndef total(): ...\n")))
    with pytest.raises(DuplicateTaskName):
        load_module(str(write(importing / "others.py", "@task(name='total')\ndef total(): ...\n")))


def test_two_functions_of_one_module_and_name_are_refused(importing: Path) -> None:
    with pytest.raises(DuplicateTaskName):
        load_module(str(write(importing / "pasted.py", ADD + ADD)))


# --- names in a module that was started -------------------------------------------------------------------------


def run(importing: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=importing, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


START = """
from paceline.worker.registry import tasks
if __name__ == '__main__':
    import {module}  # imports this file a second time
    print(*tasks)
"""


def test_a_script_names_its_tasks_as_a_worker_does(importing: Path) -> None:
    write(importing / "script.py", ADD + START.format(module="script"))
    assert run(importing, "script.py") == ["script.add"]


def test_a_module_that_is_run_names_its_tasks_as_a_worker_does(importing: Path) -> None:
    write(importing / "pkg" / "__init__.py")
    write(importing / "pkg" / "mod.py", ADD + START.format(module="pkg.mod"))
    assert run(importing, "-m", "pkg.mod") == ["pkg.mod.add"]


def test_a_child_of_multiprocessing_names_them_so_too(importing: Path) -> None:
    write(
        importing / "script.py",
        ADD
        + "import multiprocessing\n"
        + "def child(): print(add.name)\n"
        + "if __name__ == '__main__':\n"
        + "    child_process = multiprocessing.get_context('spawn').Process(target=child)\n"
        + "    child_process.start()\n"
        + "    child_process.join()\n",
    )
    assert run(importing, "script.py") == ["script.add"]


def test_a_function_typed_at_a_prompt_is_refused(importing: Path) -> None:
    program = (
        "from paceline.errors import ConfigError\n"
        "from paceline.worker.registry import task\n"
        "def typed(): pass\n"
        "try: task(typed)\n"
        "except ConfigError as error: print('prompt' in str(error))\n"
    )
    assert run(importing, "-c", program) == ["True"]


def test_registering_imports_nothing_heavy(importing: Path) -> None:
    program = (
        "import sys, paceline.worker.registry\n"
        "print(*{'zmq', 'click', 'rich', 'zeroconf', 'psutil', 'asyncio', 'paceline.client'} & set(sys.modules))"
    )
    assert run(importing, "-c", program) == []


# --- loading ----------------------------------------------------------------------------------------------------


def test_a_dotted_name_is_looked_up_in_the_current_directory(importing: Path, tasks: dict[str, Task[..., Any]]) -> None:
    write(importing / "shop" / "__init__.py")
    write(importing / "shop" / "prices.py", ADD)
    assert load_module("shop.prices").__name__ == "shop.prices"
    assert list(tasks) == ["shop.prices.add"]


def test_a_file_is_imported_under_its_stem(importing: Path, tasks: dict[str, Task[..., Any]]) -> None:
    write(importing / "deep" / "down" / "prices.py", "import prices_beside\n" + ADD)
    write(importing / "deep" / "down" / "prices_beside.py")
    module = load_module(os.path.join("deep", "down", "prices.py"))
    assert sys.modules["prices"] is module
    assert list(tasks) == ["prices.add"]
    assert load_module(os.path.join("deep", "down", "prices.py")) is module


def test_a_link_to_a_file_is_imported_under_its_own_stem_with_what_stands_beside_it_and_beside_the_file(
    importing: Path, tasks: dict[str, Task[..., Any]]
) -> None:
    """As a script or a client that imports it has it."""
    write(importing / "releases" / "linked_v2.py", "import beside_the_link, beside_the_file\n" + ADD)
    write(importing / "releases" / "beside_the_file.py")
    write(importing / "shop" / "beside_the_link.py")
    link = importing / "shop" / "linked.py"
    link.symlink_to("../releases/linked_v2.py")
    module = load_module(str(link))
    assert sys.modules["linked"] is module
    assert list(tasks) == ["linked.add"]
    assert load_module(os.path.join("shop", "linked.py")) is module


def test_a_script_that_is_a_link_names_its_tasks_as_a_worker_does(importing: Path) -> None:
    write(importing / "releases" / "linked_v2.py", ADD + "from paceline.worker.registry import tasks\nprint(*tasks)\n")
    (importing / "linked.py").symlink_to("releases/linked_v2.py")
    load = "from paceline.worker.registry import load_module; load_module('linked.py')"
    assert run(importing, "linked.py") == run(importing, "-c", load) == ["linked.add"]


@pytest.mark.parametrize("name", ["json.py", "pytest.py"])
def test_a_file_that_would_hide_another_module_is_refused(importing: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="would hide another module"):
        load_module(str(write(importing / name)))


def test_two_files_of_one_stem_are_refused(importing: Path) -> None:
    load_module(str(write(importing / "one" / "stem_of_two.py")))
    with pytest.raises(ConfigError, match="would hide another module"):
        load_module(str(write(importing / "two" / "stem_of_two.py")))


def test_a_file_behind_a_package_of_its_name_is_refused(importing: Path) -> None:
    write(importing / "hidden" / "__init__.py")
    with pytest.raises(ConfigError, match="rename the file"):
        load_module(str(write(importing / "hidden.py")))


def test_a_module_may_put_another_thing_in_its_place(importing: Path) -> None:
    code = "import sys\nsys.modules[__name__] = object()\n"
    load_module(str(write(importing / "replaced.py", code)))


def test_a_module_that_takes_itself_out_of_sys_modules_is_refused_by_name(importing: Path) -> None:
    code = "import sys\ndel sys.modules[__name__]\n"
    with pytest.raises(ConfigError, match=r"vanishing takes itself out of sys\.modules"):
        load_module(str(write(importing / "vanishing.py", code)))


def test_a_key_error_of_a_module_is_its_own(importing: Path) -> None:
    with pytest.raises(KeyError, match="keyless"):
        load_module(str(write(importing / "keyless.py", "raise KeyError(__name__)\n")))


@pytest.mark.parametrize("spec", ["", "a/b", "pkg:name", "pkg..mod", ".relative", "two words"])
def test_what_is_neither_a_name_nor_a_file_is_refused(importing: Path, spec: str) -> None:
    with pytest.raises(ConfigError, match="neither a dotted module name nor the path"):
        load_module(spec)


def test_a_file_that_is_missing_or_has_no_module_name_is_refused(importing: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*/absent\.py: No such file"):
        load_module("absent.py")
    with pytest.raises(ConfigError, match="not a Python name"):
        load_module(str(write(importing / "my-tasks.py")))


def test_whether_a_file_can_be_a_module_is_seen_without_importing_it(importing: Path) -> None:
    check_module(str(write(importing / "raises.py", "1 / 0\n")))
    check_module("a.module.that.is.not.there")
    (importing / "folder.py").mkdir()
    os.mkfifo(importing / "pipe.py")
    for name in ("folder.py", "pipe.py"):
        with pytest.raises(ConfigError, match=f"{name} is not a file"):
            check_module(name)


def test_a_file_of_another_kind_is_refused(importing: Path) -> None:
    (importing / "tasks.txt").touch()
    with pytest.raises(ConfigError, match=r"'tasks\.txt' is a file, and not one of Python"):
        load_module("tasks.txt")


def test_a_directory_without_code_is_refused_and_a_package_is_not(importing: Path) -> None:
    (importing / "shop").mkdir()
    with pytest.raises(ConfigError, match="'shop' is a directory without an __init__"):
        check_module("shop")
    write(importing / "shop" / "__init__.py")
    importlib.invalidate_caches()
    check_module("shop")


def test_a_file_that_may_not_be_read_is_refused(importing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:  # a mode of 000 stops everybody but root, who runs many a container
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = write(importing / "secret.py")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"can't read .*secret\.py: Permission denied"):
        check_module(str(path))


def test_a_current_directory_that_is_gone_is_named(importing: Path) -> None:
    (importing / "gone").mkdir()
    os.chdir(importing / "gone")
    (importing / "gone").rmdir()
    for spec in ("tasks", "tasks.py", "shop.tasks"):
        with pytest.raises(ConfigError, match="the current directory is gone; cd to one that is there"):
            load_module(spec)
    check_module(str(write(importing / "here.py")))


@pytest.mark.parametrize("spec", ["a\0b.py", "\ud800.py"])
def test_what_no_path_can_be_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"can't be the path of a file; name the \.py file"):
        check_module(spec)


def test_what_a_module_raises_propagates(importing: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        load_module(str(write(importing / "raises.py", "1 / 0\n")))


def test_what_is_announced_of_tasks_is_what_they_were_decorated_with(tasks: dict[str, Task[..., Any]]) -> None:
    """But for what is as usual, for changed copies, and for what a client has to know of."""

    def register(name: str, **options: Any) -> Task[..., Any]:
        tasks[name] = Task(lambda: None, name, TaskOptions(**options))
        return tasks[name]

    register("plain", priority=4, delivery="at_least_once")
    register("urgent", priority=9)
    register("flaky", retries=3, retry_on=ConnectionError, delay=5).options(retries=7)
    register("kept_here", durability="none")
    register("mine", on_client_lost="cancel")
    register("quick", durability="none", max_attempts=2)
    register("soon", deadline=60)
    assert registry.defaults() == [
        ("flaky", 4, {"not_before": -5_000, "retries": 3, "retry_on": "ConnectionError"}),
        ("quick", 4, {"max_attempts": 2}),
        ("soon", 4, {"deadline": -60_000}),
        ("urgent", 9, {}),
    ]
    assert decode_defaults(encode_defaults(registry.defaults())) == registry.defaults()


def test_what_can_run_many_at_once_is_async_or_asks_for_a_thread() -> None:
    assert not task(name="plain")(_computes).is_async
    assert task(name="asynchronous")(_asynchronous).is_async
    threaded = task(name="threaded", run_in="thread")(_waits)
    assert (threaded.is_async, threaded.options(priority=9).run_in) == (True, "thread")
    assert registry.async_names() == ("asynchronous", "threaded")


async def _asynchronous() -> None: ...


def _waits() -> None: ...


def _computes() -> None: ...


@pytest.mark.parametrize(
    ("function", "keywords", "says"),
    [
        (_waits, {"run_in": "process"}, 'it is "thread", or left out'),
        (_asynchronous, {"run_in": "thread"}, "which runs beside others as it is"),
        (
            _waits,
            {"run_in": "thread", "soft_time_limit": 5},
            "in a thread; leave soft_time_limit out",
        ),
        (_waits, {"run_in": "thread", "cancel_raises": True}, "leave cancel_raises out"),
    ],
)
def test_what_can_not_run_in_a_thread_is_refused_where_it_is_written(
    function: Callable[..., Any], keywords: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        task(**keywords)(function)


def test_nor_can_a_call_ask_for_that() -> None:
    threaded = task(name="threaded", run_in="thread")(_waits)
    with pytest.raises(ConfigError, match="cancel_raises"):
        threaded.options(cancel_raises=True)
