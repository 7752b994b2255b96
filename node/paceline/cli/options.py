"""What several commands share: the options that say where the cluster is, and how values are read and shown."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from paceline.cli.environment import setting
from paceline.files import expanded
from paceline_protocol.coded import CodedValue, shown_class
from paceline_protocol.texts import json_line

if TYPE_CHECKING:
    from paceline.client import Client

SECONDS_MAX = 1_000_000
PLAIN_DEPTH = 200
"""How deep a value may be nested that JSON has no form for, to be shown."""

Function = TypeVar("Function", bound=Callable[..., Any])


def reaches_a_cluster(command: Function) -> Function:
    """Adds --connect, --cluster and --connect-timeout."""
    for option in (
        setting(
            "--connect-timeout",
            "connect_timeout_s",
            type=Seconds(min_open=True),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to look for a leader.",
        ),
        setting(
            "--cluster",
            "cluster_path",
            metavar="FILE",
            help="The cluster file; its keys encrypt the connection.",
        ),
        click.option(
            "--connect",
            "addresses",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A node of the cluster; may be repeated. Default: PACELINE_CONNECT, else whatever is discovered.",
        ),
    ):
        command = option(command)
    return command


class Seconds(click.FloatRange):
    """A time to wait: a number, and not more than every timer of the system can count."""

    name = "number of seconds"

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(min=0, max=SECONDS_MAX, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):  # compares with nothing, so that it is within every range and never over
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class UserPath(click.types.StringParamType):
    """A path as a person writes it. Whoever opens it says what is wrong with it, and whose it is; click would say that
    it is not readable. "" is refused, since it would mean the working directory."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Path):
            return value
        if not value.strip():
            self.fail(f"it is empty; name a {self.name}, or leave the option out.", param, ctx)
        return expanded(value)


class FilePath(UserPath):
    """Of a file, which need not exist yet."""

    name = "file"


class DirectoryPath(UserPath):
    """Of a directory, which need not exist yet."""

    name = "directory"


def connect(addresses: tuple[str, ...], cluster_path: str | None, connect_timeout_s: float) -> Client:
    from paceline.client import Client

    return Client(*addresses, cluster=cluster_path, connect_timeout_s=connect_timeout_s)


def parse_value(text: str) -> object:
    """JSON where it parses as JSON, else the text itself: ``2`` is a number, ``two`` and ``"2"`` are strings.

    Raises BadParameter for JSON that Python can't hold.
    """
    try:
        return json.loads(text, parse_constant=_no_json, parse_float=_float)
    except json.JSONDecodeError:
        return text
    except (RecursionError, OverflowError, ValueError) as error:
        why = "a number in it has too many digits"
        if not isinstance(error, ValueError):
            why = "it is nested too deep" if isinstance(error, RecursionError) else "a number in it is too large"
        raise click.BadParameter(
            f"{text[:20]}... can't be read as JSON: {why}; give the path of a file, or a string in quotes",
            param_hint="an argument of the task",
        ) from None


def _no_json(name: str) -> object:
    """NaN, Infinity and -Infinity, which Python's own JSON has and JSON has not."""
    raise json.JSONDecodeError("it is no JSON", name, 0)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise OverflowError
    return number


def show_value(value: object) -> str:
    """For a person: a string as it is, what JSON can write as JSON, anything else as Python writes it."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()  # lone surrogates can't be printed
    try:
        return _dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _as_python_writes(value)


def to_json(value: object) -> str:
    """One line of JSON. What JSON does not know (bytes, dates, NaN; keys too) is a string, as Python writes it. A value
    of a class is an object with the name of that, and with its fields or what else there is of it."""
    try:
        return _dumps(value, default=_as_json)
    except (TypeError, ValueError, RecursionError):
        return _dumps(_plain(value))


def _dumps(value: object, default: Callable[[object], object] | None = None) -> str:
    return json_line(json.dumps(value, ensure_ascii=False, allow_nan=False, default=default))


def _as_json(value: object) -> object:
    return _object_of(value) if isinstance(value, CodedValue) else _as_python_writes(value)


def _object_of(value: CodedValue) -> dict[str, Any]:
    what = "value" if value.fields is None else "fields"
    return {"class": shown_class(value.class_name), what: value.plain}


def _as_python_writes(value: object) -> str:
    """Its repr, or why there is none. An array of numpy is whole, and each number in it has all its digits."""
    try:
        return (
            repr(_with_whole_arrays(value) if "numpy" in sys.modules else value)
            .encode(errors="backslashreplace")
            .decode()
        )
    except ValueError:  # Python writes no int of more digits
        if type(value) is int:
            return hex(value)
        digits = sys.get_int_max_str_digits()
        return f"<{type(value).__name__} with an int of more than {digits} digits; take it with future.result()>"
    except RecursionError:
        return f"<{type(value).__name__} that is nested too deep to be shown; take it with future.result()>"


class _Written:
    """In the place of a value whose own repr leaves something out."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _with_whole_arrays(value: object) -> object:
    """The same, but for its arrays, of which numpy shows six items, and eight digits of each."""
    kind = type(value)
    if isinstance(value, dict) and kind is dict:
        return {key: _with_whole_arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and kind in (list, tuple):
        return kind(map(_with_whole_arrays, value))
    if isinstance(value, CodedValue):
        return CodedValue(value.codec, value.class_name, _with_whole_arrays(value.state))
    return _Written(_whole_array(value)) if kind is sys.modules["numpy"].ndarray else value


def _whole_array(array: Any) -> str:
    """As numpy would read it. Its own way to write all items takes minutes for a million."""
    dtype = array.dtype
    items = array.astype(str) if dtype.kind == "M" else array.astype("i8") if dtype.kind == "m" else array
    shape = f", shape={array.shape}" if not array.size and array.ndim != 1 else ""
    return f"array({items.tolist()}{shape}, dtype='{dtype.str}')"


def _plain(value: object, depth: int = 0) -> object:
    """The same with a string in each place where JSON has no form."""
    if isinstance(value, dict | list | tuple):
        if depth == PLAIN_DEPTH:
            return _as_python_writes(value)
        if isinstance(value, dict):
            return {_plain_key(key): _plain(item, depth + 1) for key, item in value.items()}
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, CodedValue):
        return _as_python_writes(value) if depth == PLAIN_DEPTH else _plain(_object_of(value), depth + 1)
    if value is None or isinstance(value, str | bool):
        return value
    written = _as_python_writes(value)
    is_number = (isinstance(value, float) and math.isfinite(value)) or (isinstance(value, int) and written[:2] != "0x")
    return value if is_number else written


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        return key
    return json.dumps(key) if key is None or isinstance(key, bool) else _as_python_writes(key)
