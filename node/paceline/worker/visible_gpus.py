"""A task that runs alone in this process sees the GPUs that it was given, and no others.

NVML, and so the node, numbers GPUs in the order of their places on the PCI bus; CUDA does so if CUDA_DEVICE_ORDER says
that. So both are set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

from paceline_protocol.places import GPU, units_of

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = "CUDA_DEVICE_ORDER"
IN_ORDER_OF_THE_BUS: Final = "PCI_BUS_ID"


def show_gpus(units: str, environment: MutableMapping[str, str] = os.environ) -> dict[str, str | None]:
    """Have what runs in this process see the GPUs of these units, in place of what it saw. Returns that, for
    :func:`show_gpus_again`; nothing, if there is no GPU among them."""
    gpus = units_of(units).get(GPU)
    if gpus is None:
        return {}
    before = {name: environment.get(name) for name in (VISIBLE, ORDER)}
    environment[VISIBLE] = ",".join(map(str, gpus))
    environment[ORDER] = IN_ORDER_OF_THE_BUS
    return before


def show_gpus_again(before: Mapping[str, str | None], environment: MutableMapping[str, str] = os.environ) -> None:
    """What was seen before :func:`show_gpus`."""
    for name, value in before.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
