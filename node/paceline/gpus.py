"""Which GPUs a node may use, by the numbers that NVML gives them, if nvidia-ml-py is installed (the extra ``gpu``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib import import_module

from paceline_protocol.places import UNIT_MAX, UNITS_LIMIT

VISIBLE = "CUDA_VISIBLE_DEVICES"

_logger = logging.getLogger("paceline.node")


def usable_gpus(environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """The numbers of those that the machine has, and that CUDA_VISIBLE_DEVICES lets this process see; none without
    nvidia-ml-py or a driver. Where that variable has no numbers, none, and a line in the log says so."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
        try:
            count = int(nvml.nvmlDeviceGetCount())
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        _logger.info("no GPU is declared, as NVML says: %s", error)
        return ()
    visible = environment.get(VISIBLE)
    if visible is None:
        return tuple(range(min(count, UNITS_LIMIT)))
    listed = [each.strip() for each in visible.split(",")] if visible.strip() else []
    if not all(each.isascii() and each.isdecimal() and int(each) <= UNIT_MAX for each in listed):
        _logger.warning(
            "no GPU is declared, as %s is %r and does not say their numbers; say them with --resource gpu=0,2 (as "
            "nvidia-smi has them)",
            VISIBLE,
            visible,
        )
        return ()
    return tuple(sorted({number for number in map(int, listed) if number < count}))[:UNITS_LIMIT]
