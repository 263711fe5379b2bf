import math

import pytest
import tensorflow as tf

from perfnet_tf.models import precision
from perfnet_tf.models.modes import runs_on_cpu, traced_for_any_device
from perfnet_tf.models.precision import bfloat16_slowdown, lacks_bfloat16, slow_precision


@pytest.fixture
def slowdown(monkeypatch):
    def set_to(value):
        monkeypatch.setattr(precision, "bfloat16_slowdown", lambda: value)

    return set_to


@pytest.mark.parametrize("name", ["bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize(("value", "frozen"), [(3.4, False), (33.6, True)])
def test_users_learn_that_bfloat16_is_slow_here(slowdown, name, value, frozen):
    slowdown(value)
    note = slow_precision(name, frozen=frozen)
    assert note.startswith(f"a video's convolution takes {value:.0f} times as long in bfloat16")
    assert note.endswith("elsewhere take --precision=float32.")


@pytest.mark.skipif(not runs_on_cpu(), reason="of CPUs")
def test_users_learn_what_computes_where_there_is_no_bfloat16(slowdown):
    slowdown(33.6)
    assert lacks_bfloat16()
    assert "convolutions compute in float32 and round" in slow_precision("mixed_bfloat16")
    with traced_for_any_device():
        assert not lacks_bfloat16()
    slowdown(3.4)
    assert not lacks_bfloat16()


def test_nothing_is_said_where_bfloat16_is_fast_or_not_asked_for(slowdown, monkeypatch):
    slowdown(1.9)
    assert slow_precision("bfloat16") is None
    monkeypatch.setattr(precision, "bfloat16_slowdown", None)  # not measured
    assert slow_precision("float32") is None


def test_the_slowdown_is_measured_once():
    first = bfloat16_slowdown()
    assert 0 < first < math.inf
    assert bfloat16_slowdown() is first


def test_the_slowdown_is_measured_while_a_network_is_traced():
    bfloat16_slowdown.cache_clear()
    traced = tf.function(lambda: tf.constant(bfloat16_slowdown()))
    assert 0 < traced().numpy() < math.inf
