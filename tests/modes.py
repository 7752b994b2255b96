"""Which of the two the tests run on: the source, or the wheel whose hot modules are compiled (docs/decisions/0013)."""

from __future__ import annotations

import pytest

from paceline.version import is_compiled

COMPILED = is_compiled()

source_only = pytest.mark.skipif(COMPILED, reason="replaces parts of classes, which compiled ones refuse")

in_seeds = pytest.mark.skipif(COMPILED, reason="./dev simulate-compiled runs the same, with more seeds")
