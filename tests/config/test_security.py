"""Key pairs: made, checked, and never shown."""

from __future__ import annotations

import pytest

from paceline.security import CurveKeys, generate_keys


def test_a_generated_pair_is_valid_and_its_own() -> None:
    one, two = generate_keys(), generate_keys()
    assert one.problem() is None
    assert one.public != two.public
    assert one.secret != two.secret


def test_the_secret_is_in_no_repr() -> None:
    keys = generate_keys()
    assert keys.public in repr(keys)
    assert keys.secret not in repr(keys)
    assert keys.secret not in str([keys])


@pytest.mark.parametrize(
    ("public", "secret", "problem"),
    [
        ("short", None, "the public key must be 40 characters"),
        (None, "x" * 41, "the secret key must be 40 characters"),
        (None, '"' * 40, "the secret key must be 40 characters of Z85"),
        (None, "#" * 40, "the secret key is not a key"),
        ("1" * 40, None, "does not belong"),
    ],
)
def test_a_pair_that_cannot_be_used_says_why(public: str | None, secret: str | None, problem: str) -> None:
    keys = generate_keys()
    found = CurveKeys(public or keys.public, secret or keys.secret).problem()
    assert found is not None
    assert problem in found
