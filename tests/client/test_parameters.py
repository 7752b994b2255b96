"""Options that stand in the arguments of each call: which parameter it is, and what of it travels."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from client.fake_node import FakeNode
from paceline.client import Client
from paceline.client.targets import parts_of
from paceline.errors import ConfigError
from paceline.parameters import Parameter, parameters_of, with_parameters
from paceline.worker.registry import Task, task
from paceline_protocol.messages.records import CALL_OPTIONS, Options

DIGEST = "a digest"


class Plan(StrEnum):
    FREE = "free"


def _render(page: int, tenant: object = "none", *, plan: object = None) -> int:
    return page


def _any(*args: object, **kwargs: object) -> None: ...


def options_of(target: Task[..., Any], *args: object, **kwargs: object) -> Options | None:
    return with_parameters(parameters_of(target), parts_of(target)[2], args, kwargs)


def keyed(function: Callable[..., Any] = _render, **options: Any) -> Task[..., Any]:
    return task(name="echo", **options)(function)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("acme", "acme"),
        (Plan.FREE, "free"),
        (7, "7"),
        (True, "True"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ("x" * 200, "x" * 200),
        ("x" * 201, DIGEST),
        ("a\nb", DIGEST),
        ("\udcff", DIGEST),
        (None, None),
        ("", None),
    ],
)
def test_the_text_of_a_value_travels_and_of_what_is_too_long_a_digest(value: object, text: str | None) -> None:
    fair = keyed(fair_by="tenant")
    for found in (options_of(fair, 1, value), options_of(fair, 1, tenant=value)):
        if text is None:
            assert found is None
        elif text == DIGEST:
            assert found is not None
            assert re.fullmatch("[0-9a-f]{32}", found["fair_key"])
        else:
            assert found == {"fair_key": text}


def test_a_default_counts_and_so_does_a_parameter_that_has_to_be_named() -> None:
    assert options_of(keyed(fair_by="tenant"), 1) == {"fair_key": "none"}
    assert options_of(keyed(fair_by="plan"), 1, plan="p") == {"fair_key": "p"}
    assert options_of(keyed(fair_by="plan"), 1) is None


def test_what_a_call_says_itself_counts_more_and_other_options_stay() -> None:
    fair = keyed(fair_by="tenant", retries=2)
    assert options_of(fair, 1, "a") == {"retries": 2, "fair_key": "a"}
    assert options_of(fair.options(fair_key="b"), 1, "a") == {"retries": 2, "fair_key": "b"}
    assert options_of(fair.options(retries=3), 1, "a") == {"retries": 3, "fair_key": "a"}
    assert fair.wire_options == {"retries": 2}


def test_a_task_that_asks_for_nothing_has_the_same_object() -> None:
    asked: Options = {"retries": 2}
    assert with_parameters(None, asked, (), {}) is asked
    assert with_parameters(parameters_of("a name"), None, (), {}) is None


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"acme", ("a",), object()])
def test_a_value_of_which_there_is_no_lasting_text_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^fair_by 'tenant' can't be used for this call: its value is .* has to be"):
        options_of(keyed(fair_by="tenant"), 1, value)


@pytest.mark.parametrize(("function", "name"), [(_render, "tenants"), (_render, 7), (_any, "args"), (_any, "kwargs")])
def test_what_is_no_parameter_is_refused_where_it_is_written(function: Callable[..., Any], name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^fair_by .* names a parameter of the function, which has (page, |none)"):
        keyed(function, fair_by=name)


def test_a_key_and_a_parameter_for_it_are_not_both_given() -> None:
    with pytest.raises(ConfigError, match=r"^fair_by and fair_key say the same in different ways"):
        keyed(fair_by="tenant", fair_key="a")


def test_parameters_of_a_function_written_in_c_are_not_known() -> None:
    with pytest.raises(ConfigError, match="which has none"):
        Parameter(dict, "a", "fair_by")


@task(name="parameters.kept", fair_by="tenant")
def kept(tenant: str) -> str:
    return tenant


def test_a_task_that_travels_to_another_process_keeps_its_parameter() -> None:
    changed = pickle.loads(pickle.dumps(kept.options(priority=9)))
    assert options_of(changed, "a") == {"fair_key": "a"}


def test_submit_and_map_read_it_for_each_call(node: FakeNode, client: Client) -> None:
    node.hold = True
    echo = keyed(fair_by="tenant")
    client.submit(echo, 1, "a")
    client.submit(echo, 1, tenant="b")
    node.release()
    list(client.map(echo, [1, 2], ["c", "d"], return_exceptions=True))
    asked = [call[CALL_OPTIONS] for call in node.known.values()]
    assert asked == [{"fair_key": key} for key in "abcd"]


# --- several of them, and what is found in one


class Order:
    def __init__(self, customer: object, lines: object = None) -> None:
        self.customer = customer
        self.lines = lines


def _ship(order: object, region: str = "eu", *, page: int = 0) -> None: ...


def limited_by(*names: str) -> Task[..., Any]:
    return task(name="ship", max_running=3, limit_by=names if len(names) > 1 else names[0])(_ship)


@pytest.mark.parametrize(
    ("names", "args", "key"),
    [
        (("region",), ("o", "us"), "us"),
        (("order", "region"), ("o",), "o,eu"),
        (("order", "region"), ("a,b", "c"), "a\\,b,c"),
        (("order", "region"), ("a", "b,c"), "a,b\\,c"),
        (("order", "region"), ("a\\", "b"), "a\\\\,b"),
        (("order", "region"), (None, "us"), ",us"),
        (("order.customer", "page"), (Order(7),), "7,0"),
        (("order.customer",), ({"customer": "acme"},), "acme"),
        (("order.customer.id",), ({"customer": Order("x")},), DIGEST),
        (("order.customer",), (None,), None),
        (("order", "region"), ("x" * 200, "y"), DIGEST),
    ],
)
def test_of_several_parameters_one_text_travels_that_no_other_values_have(
    names: tuple[str, ...], args: tuple[object, ...], key: str | None
) -> None:
    if names == ("order.customer.id",):
        with pytest.raises(ConfigError, match=r"^limit_by 'order.customer.id' can't be used for this call: .* no 'id'"):
            options_of(limited_by(*names), *args)
        return
    found = options_of(limited_by(*names), *args) or {}
    if key == DIGEST:
        assert re.fullmatch("[0-9a-f]{32}", found.pop("limit_key"))
    else:
        assert found.pop("limit_key", None) == key
    assert found == {"max_running": 3}


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"limit_by": "region"}, "say by what a limit counts, and it has none; give max_running"),
        ({"limit_key": "a"}, "say by what a limit counts, and it has none; give max_running"),
        ({"max_running": 1, "limit_by": "region", "limit_key": "a"}, "say the same in different ways"),
        ({"max_running": 1, "limit_by": "nobody"}, "names a parameter of the function"),
        ({"max_running": 1, "limit_by": ("region", "order..a")}, "names a parameter of the function"),
        ({"max_running": 1, "limit_by": ()}, "it names no parameter"),
        ({"max_running": 1, "limit_by": 7}, "names a parameter of the function"),
        ({"max_running": 0}, "max_running 0 can't be used"),
    ],
)
def test_limits_that_say_nothing_or_too_much_are_refused_where_they_are_written(
    options: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(ConfigError, match=refusal):
        task(name="ship", **options)(_ship)


def test_a_limit_key_of_some_calls_of_a_task_without_a_limit_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="give max_running"):
        task(name="ship")(_ship).options(limit_key="a")
    assert options_of(limited_by("region").options(limit_key="mine"), "o") == {"max_running": 3, "limit_key": "mine"}
