"""Values of classes, taken apart where they are sent and made again where they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from paceline.codecs import registered
from paceline.codecs.finding import Nameless, find, name_of
from paceline.codecs.kinds import PATHS, ClassPlan, Unfit, plan_of
from paceline.codecs.models import model_plan_of
from paceline_protocol.coded import NAMES, PATH
from paceline_protocol.errors import ClassUnavailable, UnknownCodec
from paceline_protocol.forms import Unserializable

_PLANS_LIMIT: Final = 4_096
"""Of so many classes it is kept how their values travel. Past that all are looked at anew: a process may make classes
for ever."""


class Values:
    """What clients and workers know of values of classes."""

    def __init__(self) -> None:
        self._plans: dict[type, tuple[str, ClassPlan]] = {}  # with the name under which others find the class

    def form_of(self, value: Any) -> tuple[str, str, object] | None:
        """(codec, class, state). None: there is no codec for it. Raises Unserializable."""
        cls = type(value)
        own = registered.by_class.get(cls)
        if own is not None:
            return own.codec, own.class_name, own.state_of(value)
        known = self._plans.get(cls)
        if known is None:
            try:
                known = self._plan(cls)
            except (Nameless, Unfit) as error:
                raise Unserializable(value, str(error)) from None
            if known is None:
                return None
        named, plan = known
        return plan.codec, named, plan.state_of(value)

    def fields_of(self, value: Any) -> Mapping[str, object] | None:
        """What it holds; None if nothing is known of that. Raises nothing: the packer says what is wrong."""
        cls = type(value)
        if cls in registered.by_class:
            return None
        try:
            known = self._plans.get(cls) or self._plan(cls)
            return None if known is None else known[1].fields_of(value)
        except (Nameless, Unfit, Unserializable):
            return None

    def build(self, codec: str, named: str, state: Any) -> object:
        """The value again. Raises PayloadError, and ValueError for what is no state of this codec."""
        if codec not in NAMES:
            own = registered.by_name.get(codec)
            if own is None:
                raise UnknownCodec(codec, named)
            return own.build(named, state)
        cls = PATHS.get(named) if codec == PATH else find(codec, named)
        if cls is None:
            raise ClassUnavailable(codec, named, "it is no class of pathlib's")
        if cls in registered.by_class:
            why = f"here it has the codec {registered.by_class[cls].codec!r}, which has to be registered there, too"
            raise ClassUnavailable(codec, named, why)
        try:
            known = self._plans.get(cls) or self._plan(cls)
        except (Nameless, Unfit) as error:
            raise ClassUnavailable(codec, named, str(error)) from None
        if known is None or known[1].codec != codec:
            raise ClassUnavailable(codec, named, f"the class is no {codec} here; run the same version on both sides")
        return known[1].build(cls, named, state)

    def _plan(self, cls: type) -> tuple[str, ClassPlan] | None:
        """None for a class of no kind that has a codec. Raises Nameless and Unfit."""
        plan = model_plan_of(cls) or plan_of(cls)
        if plan is None:
            return None
        named = next((name for name, each in PATHS.items() if each is cls), "") or name_of(cls)
        if len(self._plans) >= _PLANS_LIMIT:
            self._plans.clear()
        known = self._plans[cls] = named, plan
        return known


VALUES: Final = Values()
