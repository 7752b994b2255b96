"""Values of classes in arguments and results: dataclasses, enums, NamedTuples, paths, models, what a user registers.

A value travels as the name of a codec, the name of its class and a state (``paceline_protocol/coded.py``). Here a class
gets the codec that fits it, and a value is made again where it arrives. Clients and workers alone do that; a node
carries bytes.

The rules, since what arrives is data from outside (SECURITY.md):

- Nothing is imported for a value. Its class is looked up in modules that this process has imported already, and only in
  the dictionaries of modules and classes, so that no code runs to find it (``finding.py``).
- What is found counts if it is a class of the kind that the codec is for, and else is refused by name.
- A value is made without the code of its class: no ``__init__``, no ``__post_init__``, no validator. Its fields are set
  to what they were. So it comes back as it went, and no class does anything because somebody has named it. A class that
  does something when a value of it is dropped, by ``__del__``, has no codec unless one is registered.
- A codec that a user has registered is the user's code, and is called with whatever has arrived.
"""

from __future__ import annotations

from paceline.codecs.registered import register
from paceline.codecs.values import VALUES
from paceline_protocol.coded import CodedValue
from paceline_protocol.forms import use_codecs

__all__ = ["CodedValue", "build", "register"]

use_codecs(VALUES)
build = VALUES.build
