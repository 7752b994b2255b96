"""The codecs of classes that attrs and pydantic make.

Neither is a dependency, and neither is imported here: a process that has such a class has imported what makes it.

A model of pydantic is not validated where it arrives, as nothing of a class is called: it was where it was made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any, Final

from paceline.codecs.finding import bases_of, in_class, own_names
from paceline.codecs.kinds import (
    REGISTER,
    Attributes,
    ClassPlan,
    FieldsPlan,
    Unfit,
    check_fields,
    check_is_made_of_fields,
)
from paceline_protocol.coded import ATTRS, PYDANTIC
from paceline_protocol.errors import FieldsDiffer
from paceline_protocol.forms import Unserializable


def model_plan_of(cls: type) -> ClassPlan | None:
    """None for a class of neither. Raises Unfit."""
    attributes = in_class(cls, "__attrs_attrs__")
    if attributes is not None and (attribute := _of_module("attr", "Attribute")) is not None:
        if issubclass(type(attributes), tuple) and all(type(each) is attribute for each in attributes):
            names = tuple(each.name for each in attributes)
            return FieldsPlan(ATTRS, cls, names, _cached(cls, frozenset(names)))
        return None
    if (base := _of_module("pydantic.main", "BaseModel")) is None or base not in bases_of(cls):
        return None
    fields = in_class(cls, "__pydantic_fields__")
    if fields is None:
        fields = in_class(cls, "model_fields")
    if type(fields) is not dict:
        raise Unfit(f"it is a model of another pydantic than version 2; {REGISTER}")
    return ModelPlan(cls, frozenset(fields))


def _of_module(module: str, name: str) -> Any:
    """What a module that is imported has under a name. pydantic itself imports what is asked of it."""
    found = sys.modules.get(module)
    return None if found is None else vars(found).get(name)


def _cached(cls: type, fields: frozenset[str]) -> frozenset[str]:
    """The slots that attrs has made for cached properties."""
    found: set[str] = set()
    for each in bases_of(cls):
        names = own_names(each)
        if getattr(names.get("__attrs_props__"), "is_slotted", False):
            found.update(name for name, item in names.items() if type(item) is MemberDescriptorType)
    return frozenset(found - fields)


_FIELDS_SET: Final = "__pydantic_fields_set__"
_EXTRA: Final = "__pydantic_extra__"
_PRIVATE: Final = "__pydantic_private__"
_SLOTS: Final = frozenset((_FIELDS_SET, _EXTRA, _PRIVATE))


class ModelPlan:
    """Of a model of pydantic 2. The state: the fields by name, which of them were set, what there is beside them if the
    model allows that, and the private attributes; the last two are None if there are none."""

    codec = PYDANTIC

    def __init__(self, cls: type, fields: frozenset[str]) -> None:
        self._fields = fields
        private = in_class(cls, "__private_attributes__")
        self._private = frozenset(private if type(private) is dict else ())
        config = in_class(cls, "model_config")
        self._has_extra = type(config) is dict and config.get("extra") == "allow"
        self._attributes = Attributes(cls, fields, _SLOTS)
        check_is_made_of_fields(cls)

    def state_of(self, value: Any) -> list[object]:
        self._attributes.check(value)
        fields = self.fields_of(value)
        try:
            extra, private = object.__getattribute__(value, _EXTRA), object.__getattribute__(value, _PRIVATE)
            return [fields, sorted(object.__getattribute__(value, _FIELDS_SET)), extra, private or None]
        except AttributeError as error:
            raise Unserializable(value, f"it was made past pydantic ({error}); make it by its class") from None

    def fields_of(self, value: Any) -> Mapping[str, object]:
        has = value.__dict__
        if has.keys() == self._fields:
            return has  # type: ignore[no-any-return]
        missing = sorted(self._fields - has.keys())
        if missing:
            raise Unserializable(value, f"its fields {', '.join(missing)} are not set; set them before it is sent")
        return {name: item for name, item in has.items() if name in self._fields}

    def build(self, cls: Any, named: str, state: Any) -> object:
        if type(state) is not list or len(state) != 4:
            raise ValueError("the state of a model is its fields, which were set, what is beside them and private")
        fields, fields_set, extra, private = state
        check_fields(named, self._fields, fields)
        _check_names(named, extra, None if self._has_extra else frozenset())
        _check_names(named, private, self._private)
        if type(fields_set) is not list or not all(type(name) is str for name in fields_set):
            raise ValueError("the fields that were set are a list of names")
        unknown = set(fields_set) - self._fields - set(extra or ())
        if unknown:
            raise FieldsDiffer(named, (), tuple(sorted(unknown)))
        if self._has_extra and extra is None:
            extra = {}
        made: object = object.__new__(cls)
        object.__setattr__(made, "__dict__", fields)
        object.__setattr__(made, _FIELDS_SET, set(fields_set))
        object.__setattr__(made, _EXTRA, extra)
        object.__setattr__(made, _PRIVATE, private if private is not None or not self._private else {})
        return made


def _check_names(named: str, found: Any, known: frozenset[str] | None) -> None:
    """Raises FieldsDiffer for names beside these. ``known``: None for any."""
    if found is None:
        return
    if type(found) is not dict or not all(type(name) is str for name in found):
        raise ValueError("what a model has beside its fields is a map of it by name")
    unknown = () if known is None else tuple(sorted(found.keys() - known))
    if unknown:
        raise FieldsDiffer(named, (), unknown)
