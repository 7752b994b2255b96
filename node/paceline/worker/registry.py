"""Which functions are tasks, and under which names: the ``task`` decorator, and how modules of tasks are loaded.

The rules of this module:

- A name means the same function in every process. It is made from where the function is defined, never from how that
  module happened to be started: a script run as ``python tasks.py`` registers what a node given ``tasks.py`` registers.
- Registering is all that importing a module of tasks does: no socket, no thread, no cluster. A task stays an ordinary
  function to call.
- Two functions never share a name. The same function may come again, as it does when a module is imported twice; and
  what a module registers when it is executed anew, as by a reload, takes the place of what it registered before.
- Both clients and workers import this, so it pulls in nothing heavy; the client is imported by the first ``submit``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import stat
import sys
from collections.abc import Callable, Coroutine, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from paceline.errors import BadSchedule, ConfigError, DuplicateTaskName
from paceline.importing import RUN_AS, import_own, imported_name
from paceline.options import OptionChanges, OptionKeywords, TaskOptions, check_names, shown
from paceline.ownership import whose
from paceline.parameters import Parameter, Parameters
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Default, Options
from paceline_protocol.messages.schedules import OwnSchedule
from paceline_protocol.options import announced

if TYPE_CHECKING:
    from paceline.client import Future, Mapped, Unordered
    from paceline.client.mapping import MapBounds
    from paceline.schedules import Schedules
    from paceline.worker.batches import BatchSignature

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

NAME_LIMIT_CHARS = 200
THREAD = "thread"

tasks: dict[str, Task[..., Any]] = {}
"""Every task of this process by name. Written by the decorator, read by the worker."""


class Task(Generic[P, R]):
    """A function that can run on a cluster: ``add(2, 3)`` runs it here, ``add.submit(2, 3)`` there."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R], name: str, chosen: TaskOptions) -> None:
        # First, so that an attribute of the function can't replace one of the task's own.
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.chosen = chosen
        self.priority = chosen.priority
        self.wire_options = chosen.wire_options
        self.run_in: str | None = None
        self.batch_signature: BatchSignature | None = None  # of a function that is called for several calls at once
        self.schedules: tuple[OwnSchedule, ...] = ()
        # Options that stand in the arguments of its calls.
        self.argument_options: dict[str, Parameter | Parameters] = {}
        self.execution: object = None  # of its module: the spec, of which Python makes another one for each

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @overload
    def submit(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it on the cluster of the current client. Returns at once; the future gives the result."""
        return cast("Future[Any]", import_own("paceline.client").current_client().submit(self, *args, **kwargs))

    @overload
    def map(
        self: Task[..., Coroutine[Any, Any, T]], *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Mapped[T]: ...
    @overload
    def map(self, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]) -> Mapped[R]: ...
    def map(self, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]) -> Mapped[Any]:
        """Like the built-in ``map``, run on the cluster: the results in the order of the arguments. The keywords are
        those of `Client.map`."""
        return cast("Mapped[Any]", import_own("paceline.client").current_client().map(self, *iterables, **bounds))

    @overload
    def imap_unordered(
        self: Task[..., Coroutine[Any, Any, T]], *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Unordered[T]: ...
    @overload
    def imap_unordered(self, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]) -> Unordered[R]: ...
    def imap_unordered(self, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]) -> Unordered[Any]:
        """The same with the results as they come."""
        client = import_own("paceline.client").current_client()
        return cast("Unordered[Any]", client.imap_unordered(self, *iterables, **bounds))

    def options(self, **changes: Unpack[OptionChanges]) -> Task[P, R]:
        """The same task with other options, for some calls: ``add.options(priority=9).submit(2, 3)``. None keeps what
        it has. Raises ConfigError for what can't be used."""
        return self._with(self.chosen.changed(changes))

    def _with(self, chosen: TaskOptions) -> Task[P, R]:
        changed = Task(self.function, self.name, chosen)
        changed.run_in, changed.argument_options = self.run_in, self.argument_options
        changed.batch_signature = self.batch_signature
        _check_thread(changed)
        _check_limit(changed)
        if self.batch_signature is None and "batch" in (changed.wire_options or {}):
            raise ConfigError(
                f"{self.name} is called for one call at a time; give batch to its @task, whose function then gets lists"
            )
        return changed

    @property
    def is_async(self) -> bool:
        """Whether many of it can run at once in one worker. What is called for several calls at once has a worker for
        itself."""
        is_async = self.run_in == THREAD or inspect.iscoroutinefunction(self.function)
        return is_async and self.batch_signature is None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A function is pickled by its module and name, and there the decorator has left this object in its place.
        # Code that hands a task to multiprocessing depends on it.
        return _restore, (self.function.__module__, self.__qualname__, self.chosen)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    run_in: Literal["thread"] | None = None,
    fair_by: str | None = None,
    affinity_by: str | None = None,
    schedule: Schedules | None = None,
    limit_by: str | Iterable[str] | None = None,
    **options: Unpack[OptionKeywords],
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    run_in: Literal["thread"] | None = None,
    fair_by: str | None = None,
    affinity_by: str | None = None,
    schedule: Schedules | None = None,
    limit_by: str | Iterable[str] | None = None,
    **options: Unpack[OptionKeywords],
) -> Any:
    """Make a function a task, as ``@task`` or ``@task(name=..., priority=..., ...)``.

    ``name`` is ``module.function`` unless given. ``run_in="thread"`` is for a function that waits without ``await``,
    and that may run in a thread beside others: many of them run at once in a worker, as those of an ``async def`` do.
    ``fair_by`` names the parameter whose value is the ``fair_key`` of each call, ``affinity_by`` that whose value is
    its ``affinity``, ``limit_by`` the one, or those, whose values are its ``limit_key``.
    ``schedule`` has the cluster run it at moments: ``cron("0 2 * * *")``, ``every(minutes=5)``, ``Schedule(...)`` with
    arguments and more, or a list of these.
    The other keywords are the defaults of its calls, the fields of :class:`TaskOptions`. An ``async def`` is run to its
    end by the worker.

    Raises ConfigError for what can't be used, as BadSchedule, and DuplicateTaskName if another function has the name.
    """
    check_names("task()", options, "name", "run_in", "fair_by", "affinity_by", "limit_by", "schedule")
    chosen = TaskOptions(**options)
    if fair_by is not None and chosen.fair_key is not None:
        raise ConfigError("fair_by and fair_key say the same in different ways; give one of them")
    if affinity_by is not None and chosen.affinity is not None:
        raise ConfigError("affinity_by and affinity say the same in different ways; give one of them")
    if limit_by is not None and chosen.limit_key is not None:
        raise ConfigError("limit_by and limit_key say the same in different ways; give one of them")
    if function is None:
        return functools.partial(
            _register,
            name=name,
            chosen=chosen,
            run_in=run_in,
            fair_by=fair_by,
            affinity_by=affinity_by,
            limit_by=limit_by,
            schedule=schedule,
        )
    return _register(
        function,
        name=name,
        chosen=chosen,
        run_in=run_in,
        fair_by=fair_by,
        affinity_by=affinity_by,
        limit_by=limit_by,
        schedule=schedule,
    )


def defaults() -> list[Default]:
    """What the tasks of this process were decorated with, of those that ask for something: for calls by name."""
    found = [(name, each.priority, announced(_announced(each))) for name, each in sorted(tasks.items())]
    return [each for each in found if each[1] != PRIORITY_DEFAULT or each[2]]


def schedules() -> list[OwnSchedule]:
    """Those that the tasks of this process come with."""
    return [each for _, task in sorted(tasks.items()) for each in task.schedules]


def _announced(task: Task[..., Any]) -> Options | None:
    """Its options, and by which parameters its calls are limited, which who calls it by name alone can't read."""
    limit_by = task.argument_options.get("limit_key")
    if not isinstance(limit_by, Parameters):
        return task.wire_options
    return {**(task.wire_options or {}), "limit_by": limit_by.text_of_names}


def async_names() -> tuple[str, ...]:
    """Those of the tasks of this process of which many can run at once in one worker."""
    return tuple(sorted(name for name, each in tasks.items() if each.is_async))


def batched_names() -> frozenset[str]:
    """Those of the tasks of this process whose functions are called for several calls at once."""
    return frozenset(name for name, each in tasks.items() if each.batch_signature is not None)


def check_module(spec: str) -> None:
    """Raises ConfigError for what can't be a module of tasks, as far as that is seen without importing it."""
    if not spec.endswith(".py"):
        if not all(part.isidentifier() for part in spec.split(".")):
            raise ConfigError(
                f"{spec!r} is neither a dotted module name nor the path of a .py file; name what holds the tasks as "
                "shop.tasks or shop/tasks.py"
            )
        if os.path.isfile(spec) and "." in spec:
            raise ConfigError(f"{spec!r} is a file, and not one of Python; name the .py file that holds the tasks")
        found = PathFinder.find_spec(spec, [_current_directory(), *sys.path]) if "." not in spec else None
        if found is not None and found.origin is None:  # imports as a namespace package, which holds no code
            raise ConfigError(f"{spec!r} is a directory without an __init__.py; name the module in it with the tasks")
        return
    path = Path(spec) if os.path.isabs(spec) else Path(_current_directory(), spec)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is not a file; name the .py file that holds the tasks")
        path.open("rb").close()
    except ValueError:
        raise ConfigError(f"{spec!r} can't be the path of a file; name the .py file that holds the tasks") from None
    except PermissionError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}. {whose(path)}; run the node as one who may") from error
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}; name the .py file that holds the tasks") from error
    if not path.stem.isidentifier():
        raise ConfigError(f"{path.name} can't be imported: {path.stem!r} is not a Python name; rename the file")
    if path.stem in sys.stdlib_module_names:
        raise ConfigError(f"{path} would hide another module that is named {path.stem!r}; rename the file")


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the current directory is gone; cd to one that is there") from None


def load_module(spec: str) -> ModuleType:
    """Import a module of tasks: a dotted name, or the path of a ``.py`` file. What the module raises propagates."""
    check_module(spec)
    if spec.endswith(".py"):
        path = Path(spec)
        return _load_file(path.parent.resolve() / path.name)  # a link has its own name
    cwd = _current_directory()
    if cwd not in sys.path and "" not in sys.path:
        sys.path.insert(0, cwd)  # as `python -m` does
    return _import(spec)


def _load_file(path: Path) -> ModuleType:
    """Import a file under its stem: the name that ``import`` and a run as a script give its tasks as well."""
    stem = path.stem
    loaded = sys.modules.get(stem)
    if loaded is not None and not _is_from(loaded, path):
        raise ConfigError(f"{path} would hide another module that is named {stem!r}; rename the file")
    folder = str(path.parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    target = str(path.resolve().parent)  # another one if the file is a link; a script has it there
    if target not in sys.path:
        sys.path.insert(1, target)
    # Looked at before: a module may put anything in its own place.
    found = importlib.util.find_spec(stem) if loaded is None else None
    if found is not None and (found.origin is None or Path(found.origin).resolve() != path.resolve()):
        raise ConfigError(f"{stem!r} is {found.origin or 'a package'} and not {path}; rename the file")
    return _import(stem)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyError as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        if last is None or not last.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
            raise
        raise ConfigError(
            f"{name} takes itself out of sys.modules while it is imported; leave it there, or put another in its place"
        ) from None


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _register(
    function: Callable[P, R],
    *,
    name: str | None,
    chosen: TaskOptions,
    run_in: str | None = None,
    fair_by: str | None = None,
    affinity_by: str | None = None,
    schedule: Schedules | None = None,
    limit_by: str | Iterable[str] | None = None,
) -> Task[P, R]:
    if not inspect.isroutine(function):
        raise ConfigError(f"@task is for functions, not for {shown(function)}")
    if "<lambda>" in function.__qualname__ or "<locals>" in function.__qualname__:
        raise ConfigError(
            f"{function.__qualname__} can't be a task: a worker finds a task by importing its module, which does not "
            "create this function; move it to module level with a def"
        )
    task_name = _check_name(_default_name(function) if name is None else name)
    registered: Task[P, R] = Task(function, task_name, chosen)
    registered.run_in = run_in
    if fair_by is not None:
        registered.argument_options["fair_key"] = Parameter(function, fair_by, "fair_by")
    if affinity_by is not None:
        registered.argument_options["affinity"] = Parameter(function, affinity_by, "affinity_by")
    if limit_by is not None:
        registered.argument_options["limit_key"] = Parameters(function, limit_by, "limit_by")
    _check_thread(registered)
    _check_limit(registered)
    if "batch" in (registered.wire_options or {}):
        registered.batch_signature = import_own("paceline.worker.batches").BatchSignature(task_name, function)
    elif "batch_window" in (registered.wire_options or {}):
        raise ConfigError(f"{task_name} has batch_window and no batch; give both, or leave batch_window out")
    registered.execution = getattr(sys.modules.get(function.__module__), "__spec__", None)
    known = tasks.get(registered.name)
    if known is not None and _origin(known.function) != _origin(function) and not _is_from_before(known, registered):
        raise DuplicateTaskName(registered.name, _describe(known.function), _describe(function))
    if schedule is not None:
        registered.schedules = _schedules_of(registered, schedule)
    tasks[registered.name] = registered
    return registered


def _schedules_of(task: Task[..., Any], given: Schedules) -> tuple[OwnSchedule, ...]:
    """Raises BadSchedule, also for a name that a schedule of another task has."""
    from paceline.schedules import of_task  # whoever has a timetable has imported it

    owner, parameters = _module_name(task.function), task.argument_options
    found = of_task(given, task.function, task.name, owner, task.priority, task.wire_options, parameters)
    for other in tasks.values():
        both = {name for name, _ in other.schedules} & {name for name, _ in found}
        if other.name != task.name and both and not _is_from_before(other, task):
            raise BadSchedule(
                f"{other.name} and {task.name} both have a schedule named {min(both)!r}; give one of them another "
                "name, with Schedule(..., name=...)"
            )
    return found


def _default_name(function: Callable[..., Any]) -> str:
    return f"{_module_name(function)}.{function.__qualname__}"


def _module_name(function: Callable[..., Any]) -> str:
    """The name under which a worker would import the function's module.

    Code that was started, rather than imported, is in ``__main__``, or in ``__mp_main__`` under multiprocessing.
    """
    module: str = function.__module__
    if module not in RUN_AS:
        return module
    name = imported_name(getattr(inspect.unwrap(function), "__globals__", {}))
    if name is None:
        raise ConfigError(
            f"{function.__qualname__} was typed at a prompt, where no worker can import it; put it in a .py file"
        )
    return name


def _origin(function: Callable[..., Any]) -> tuple[str, int, str]:
    """Where a function is written: equal for the same function when its module is imported twice."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:  # written in C
        return function.__module__, 0, function.__qualname__
    return os.path.realpath(code.co_filename), code.co_firstlineno, function.__qualname__


def _is_from_before(known: Task[..., Any], new: Task[..., Any]) -> bool:
    """Whether a task is of an earlier execution of the module that the new one is of: this was reloaded, or imported
    again. Its source may have changed meanwhile."""
    return (
        known.function.__module__ == new.function.__module__
        and _origin(known.function)[0] == _origin(new.function)[0]
        and known.execution is not new.execution
    )


def _describe(function: Callable[..., Any]) -> str:
    file, line, qualname = _origin(function)
    return f"{qualname} ({file}:{line})" if line else f"{file}.{qualname}"


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT_CHARS or not name.isprintable() or " " in name:
        raise ConfigError(
            f"{shown(name)} can't name a task: a name has 1 to {NAME_LIMIT_CHARS} printable characters and no spaces"
        )
    return name


def _restore(module: str, qualname: str, chosen: TaskOptions) -> Task[..., Any]:
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    restored = cast("Task[..., Any]", found)
    if restored.chosen == chosen:
        return restored
    return restored._with(chosen)


def _check_limit(checked: Task[..., Any]) -> None:
    """Raises ConfigError for what says by what a limit counts, if there is none."""
    options = checked.wire_options or {}
    has_limit = "max_running" in options or "rate" in options
    if not has_limit and ("limit_key" in options or "limit_key" in checked.argument_options):
        raise ConfigError(
            f"limit_by and limit_key of {checked.name} say by what a limit counts, and it has none; give max_running "
            "or rate, too"
        )


def _check_thread(checked: Task[..., Any]) -> None:
    """Raises ConfigError for what can't be where a task is to run."""
    run_in = checked.run_in
    if run_in is None:
        return
    if run_in != THREAD:
        raise ConfigError(f'run_in {shown(run_in)} can\'t be used: it is "thread", or left out')
    if inspect.iscoroutinefunction(checked.function):
        raise ConfigError(
            f'{checked.name} is an async def, which runs beside others as it is; leave run_in="thread" out, or make it '
            "a plain def"
        )
    options = checked.wire_options or {}
    if "batch" in options:
        raise ConfigError(
            f'{checked.name} has run_in="thread" and batch, which has a worker for itself; leave one of them out'
        )
    for key in ("soft_time_limit", "cancel_raises"):
        if options.get(key):
            raise ConfigError(
                f'{checked.name} has run_in="thread" and {key}, but nothing can be raised in a thread; leave {key} '
                "out, and look at current_task().cancelled in the task"
            )
