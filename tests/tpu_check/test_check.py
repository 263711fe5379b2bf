import importlib.util

import pytest
import tf_keras
from tiny_network import TinyNetwork

from perfnet_tf.config import ClipConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError
from perfnet_tf.tpu_check.check import (
    MAX_BATCH_PER_CORE,
    StepChecker,
    StepReport,
    needed_gib,
    predict_largest,
    search_largest,
)
from perfnet_tf.tpu_check.chips import CHIPS, chip_named

V3 = CHIPS["v3"]


class Memory:
    """A chip on which a batch needs `needs(batch)` GiB; remembers what was tried."""

    def __init__(self, needs):
        self.needs, self.tried = needs, []

    def __call__(self, batch):
        self.tried.append(batch)
        needed = self.needs(batch)
        if needed <= V3.memory_gib:
            return StepReport(V3, batch, True, total_gib=needed)
        return StepReport(V3, batch, False, "Ran out of memory", needed_gib=needed)


@pytest.mark.parametrize("start", [1, 8, 64, 1000])
@pytest.mark.parametrize(
    ("needs", "largest"),
    [
        (lambda batch: 0.5 + 1.5 * batch, 10),
        (lambda batch: 15.0 + batch, 1),
        (lambda batch: 0.1 + 0.02 * batch, 795),
        # The compiler trades time for memory: what fits tells little about the next batch.
        (lambda batch: 15.9 if 5 <= batch <= 20 else 2.0 * batch, 20),
        (lambda batch: 0.001 * batch, MAX_BATCH_PER_CORE),
    ],
)
def test_the_largest_batch_that_fits_is_found_in_few_compilations(needs, largest, start):
    memory = Memory(needs)
    assert search_largest(memory, start).batch_per_core == largest
    assert len(memory.tried) == len(set(memory.tried)) <= 16


@pytest.mark.parametrize("start", [1, 8, 30])
def test_two_compilations_predict_the_third_and_the_fourth_proves_it(start):
    memory = Memory(lambda batch: 3.0 + 0.5 * batch)
    assert search_largest(memory, start).batch_per_core == 26
    assert len(memory.tried) <= 4
    assert memory.tried[-2:] in ([26, 27], [27, 26])


def test_what_one_chip_needs_decides_where_to_begin_on_the_next():
    def report(batch):
        return StepReport(V3, batch, True, total_gib=3.0 + 0.5 * batch)

    assert predict_largest([], 8.0) is None
    assert predict_largest([StepReport(V3, 8, False, "No such operation")], 8.0) is None
    assert predict_largest([report(20)], 8.0) == 12  # 13 GiB: through the origin
    assert predict_largest([report(20), report(26)], 8.0) == 10
    assert predict_largest([report(20), report(26)], 1.0) == 1
    lacks = StepReport(V3, 27, False, "Ran out of memory", needed_gib=16.5)
    assert predict_largest([lacks, report(20)], 8.0) == 10


def test_nothing_fits_or_does_not_compile_at_all():
    assert search_largest(Memory(lambda batch: 17.0), 8) is None
    broken = StepReport(V3, 8, False, "Unsupported operation")
    with pytest.raises(InputError, match="Unsupported operation"):
        search_largest(lambda batch: broken, 8)


def test_what_is_lacking_is_read_from_the_compilers_words():
    words = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 22.43G of 15.48G hbm."
    assert needed_gib(words) == pytest.approx(22.43)
    words = (
        "CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (37.47G) exceeds available HBM (7.48G). HLO module: a_step.11410."
    )
    assert needed_gib(words) == pytest.approx(37.47)
    assert needed_gib("Used 900.5M of 512.00M hbm") == pytest.approx(900.5 / 1024)
    assert needed_gib("INVALID_ARGUMENT: no such thing") is None


def test_the_roofline_is_the_slower_of_arithmetic_and_traffic():
    report = StepReport(V3, 8, True, tflop=6.15, gb_moved=90.0)
    assert report.arithmetic_ms == pytest.approx(100.0)
    assert report.memory_ms == pytest.approx(200.0)
    estimate = report.to_json()["roofline_estimate"]
    assert estimate["step_ms"] == pytest.approx(200.0)
    assert estimate["clips_per_second_per_core"] == pytest.approx(40.0)


def test_an_unknown_chip_is_refused():
    with pytest.raises(InputError, match="A TPU must be one of v2, v3, v4, v5e, v6e"):
        chip_named("v7")


def tiny_checker():
    student = TinyNetwork(3).build_for_stream()
    distiller = Distiller(student)
    distiller.compile(tf_keras.optimizers.SGD(0.1))
    distiller.optimizer.build(student.trainable_variables)
    return StepChecker(distiller, ClipConfig(4, 32, 32))


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Missing: jax, libtpu. pip install 'perfnet-tf\[tpu-ch"):
        tiny_checker()


@pytest.mark.slow
@pytest.mark.parametrize("chip", sorted(CHIPS))
def test_a_small_step_is_compiled_for_each_chip(chip):
    if not all(importlib.util.find_spec(name) for name in ("jax", "libtpu")):
        pytest.skip("jax and libtpu are not installed")
    checker = tiny_checker()
    report = checker.check(chip, 2)
    assert report.fits, report.error
    assert report.host_ops == report.dynamic_shapes == ()
    assert 0 < report.arguments_gib < 0.1
    assert report.total_gib >= report.arguments_gib + report.temporaries_gib
    # conv: 2 clips x 2x16x16 positions x 8 filters x 3x3x3x3 products, forward and one gradient
    least = 2 * 2 * (2 * 2 * 16 * 16 * 8 * 81) / 1e12
    assert least * 0.9 < report.tflop < 50 * least
