import math

import pytest

from perfnet_tf.config import TrainConfig
from perfnet_tf.training.schedules import build_schedule, steps_per_epoch


def test_the_papers_schedule_warms_up_for_2000_steps_to_1_6_then_decays_over_20000():
    # PERF-Net Sec. 4; 2048 clips are one step of the paper's batch.
    config = TrainConfig(epochs=22, batch_size=2048, learning_rate=1.6)
    schedule = build_schedule(config, num_clips=2048 * 1000)
    expected = {0: 0.0, 500: 0.4, 2000: 1.6, 12000: 0.8, 22000: 0.0}
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, abs=1e-6), step
    quarter = 1.6 * 0.5 * (1 + math.cos(math.pi / 4))
    assert float(schedule(7000)) == pytest.approx(quarter, rel=1e-5)


def test_no_warm_up_starts_at_the_peak():
    config = TrainConfig(epochs=2, batch_size=4, learning_rate=0.5, warmup_epochs=0)
    schedule = build_schedule(config, num_clips=40)
    assert float(schedule(0)) == pytest.approx(0.5)
    assert float(schedule(20)) == pytest.approx(0.0, abs=1e-8)


def test_a_warm_up_longer_than_the_run_still_leaves_a_finite_rate():
    config = TrainConfig(epochs=1, batch_size=8, learning_rate=0.5, warmup_epochs=9)
    schedule = build_schedule(config, num_clips=24)
    assert [float(schedule(i)) for i in range(3)] == pytest.approx([0.0, 0.25, 0.5])


def test_an_epoch_is_the_whole_batches_nearest_to_one_pass():
    assert steps_per_epoch(15, 4) == 4
    assert steps_per_epoch(229, 16) == 14
    assert steps_per_epoch(3, 16) == 1
