"""What a node declares: by its options, by the machine, and by NVML."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from paceline.config import NodeConfig, usable_cpus
from paceline.errors import ConfigError
from paceline.gpus import usable_gpus
from paceline.memory import memory_bytes
from paceline.worker.visible_gpus import show_gpus, show_gpus_again
from paceline_protocol.places import amounts_of


def config(*resources: str, **settings: Any) -> NodeConfig:
    made = NodeConfig(modules=("tasks",), resources=resources, **{"gpus": (), **settings})
    made.validate()
    return made


def declared(made: NodeConfig) -> dict[str, int]:
    return dict(amounts_of(made.amounts_text))


def test_without_a_word_a_node_declares_what_its_machine_has() -> None:
    found = declared(config())
    memory = memory_bytes()
    assert memory is not None
    assert found == {"cpu": usable_cpus(), "memory_mb": memory >> 20}
    assert config(workers=0).amounts_text == ""


def test_what_is_said_counts_more_and_0_declares_none() -> None:
    assert declared(config("cpu=3", "memory=2GiB", "licence=5")) == {"cpu": 3, "memory_mb": 2048, "licence": 5}
    assert declared(config("cpu=0", "memory_mb=0", "gpu=0", gpus=(0, 1))) == {}
    assert config("gpu=0", gpus=(0, 1)).units == ()


def test_gpus_have_numbers_and_so_has_what_is_listed() -> None:
    assert config("gpu=2").units == (("gpu", (0, 1)),)
    assert config("gpu=3,0", "port=8001,").units == (("gpu", (0, 3)), ("port", (8001,)))
    assert declared(config("gpu=3,0"))["gpu"] == 2
    assert config(gpus=(1, 4)).units == (("gpu", (1, 4)),)
    assert declared(config(gpus=(1, 4)))["gpu"] == 2


def test_tags_are_told_in_order_and_once() -> None:
    assert config(tags=("b", "a", "b")).tags_text == "a,b"


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ("gpu", "it is written NAME=AMOUNT"),
        ("gpu=", "the amount of gpu is a whole number"),
        ("gpu=-1", "the amount of gpu is a whole number"),
        ("gpu=1.5", "the amount of gpu is a whole number"),
        ("tape=" + "9" * 5_000, "the amount of tape is more than 2\\^53"),
        ("a b=1", "a name has 1 to 64 letters"),
        ("=1", "a name has 1 to 64 letters"),
        ("memory=5", "memory is a whole number of MiB, GiB or TiB"),
        ("memory=0.5GiB", "memory is a whole number of MiB, GiB or TiB"),
        ("gpu=1,1", "the units of gpu are different numbers"),
        ("gpu=1,x", "the units of gpu are numbers from 0"),
        ("gpu=1,70000", "the units of gpu are different numbers from 0 to 65535"),
        ("gpu=2000", "2000 units that have numbers"),
    ],
)
def test_what_can_not_be_declared_is_refused_by_name(resource: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(resource)


def test_what_is_too_much_or_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="names gpu twice"):
        config("gpu=1", "gpu=2")
    with pytest.raises(ConfigError, match="more than 32 resources"):
        config(*[f"r{number}=1" for number in range(30)])
    with pytest.raises(ConfigError, match="a node has 32 tags at most"):
        config(tags=tuple(f"t{number}" for number in range(33)))
    with pytest.raises(ConfigError, match="a tag has 1 to 64 letters"):
        config(tags=("a b",))


# --- GPUs: a stand-in for nvidia-ml-py, as there is no GPU where these tests run


class NVMLError(Exception):
    """As that module has it."""


def stand_in(monkeypatch: pytest.MonkeyPatch, count: int, error: NVMLError | None = None) -> list[str]:
    """pynvml on a machine with so many GPUs, or on one without a driver. Returns what is called."""
    called: list[str] = []

    def init() -> None:
        called.append("init")
        if error is not None:
            raise error

    module = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: count,
        nvmlShutdown=lambda: called.append("shutdown"),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return called


def test_gpus_are_those_that_nvml_counts_and_that_the_node_may_see(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    called = stand_in(monkeypatch, 4)
    assert usable_gpus({}) == (0, 1, 2, 3)
    assert called == ["init", "shutdown"]
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": "3, 1"}) == (1, 3)
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": "1,9"}) == (1,)
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    with caplog.at_level(logging.WARNING):
        assert usable_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}) == ()
    assert "say them with --resource gpu=0,2" in caplog.text


def test_without_the_module_or_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 4, NVMLError("Driver Not Loaded"))
    assert usable_gpus({}) == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert usable_gpus({}) == ()


def test_what_was_seen_before_a_task_is_seen_after_it() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    before = show_gpus("gpu=1+3", environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "1,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    show_gpus_again(before, environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert show_gpus("port=8001", environment) == {}
    assert environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
