import math

import pytest

from perfnet_tf.models import precision
from perfnet_tf.models.precision import bfloat16_slowdown, slow_precision


@pytest.fixture
def slowdown(monkeypatch):
    def set_to(value):
        monkeypatch.setattr(precision, "bfloat16_slowdown", lambda: value)

    return set_to


@pytest.mark.parametrize("name", ["bfloat16", "mixed_bfloat16"])
def test_users_learn_that_bfloat16_is_slow_here(slowdown, name):
    slowdown(23.6)
    note = slow_precision(name)
    assert note.startswith("a video's convolution takes 24 times as long in bfloat16")
    assert note.endswith("elsewhere take --precision=float32.")


def test_nothing_is_said_where_bfloat16_is_fast_or_not_asked_for(slowdown, monkeypatch):
    slowdown(1.9)
    assert slow_precision("bfloat16") is None
    monkeypatch.setattr(precision, "bfloat16_slowdown", None)  # not measured
    assert slow_precision("float32") is None


def test_the_slowdown_is_measured_once():
    first = bfloat16_slowdown()
    assert 0 < first < math.inf
    assert bfloat16_slowdown() is first
