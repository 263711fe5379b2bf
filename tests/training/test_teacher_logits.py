"""Teachers that are computed once, before the first step."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from prepared_clips import make_clip, write_dataset, write_tiny_dataset

from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    TrainConfig,
)
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.augment import evenly_spread_views
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.records.folder import read_index
from perfnet_tf.training.teacher_logits import keep_teacher_logits
from perfnet_tf.training.trainer import train

#: 12 clips in batches of 4: an epoch is 3 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=24),
    model=ModelConfig("tiny", dropout_rate=0.0, weight_decay=0.001),
    distill=DistillConfig(teacher_windows=1),
    train=TrainConfig(
        epochs=3, batch_size=4, learning_rate=0.05, mirror=False, checkpoint_every_steps=2
    ),
)


def flow_logits(flow):
    return tf.reduce_mean(flow, axis=[1, 2, 3]) @ tf.reshape(tf.range(6.0), [2, 3])


def flow_teacher():
    return Teacher(flow_logits, "flow")


def weights(run):
    return [variable.numpy() for variable in run.model.variables]


@pytest.fixture(scope="module")
def still_data(tmp_path_factory):
    """Clips of which there is one view: as long and as large as the network's."""
    clips = [make_clip(i, i % 3, frames=6, height=24, width=32) for i in range(12)]
    folder = tmp_path_factory.mktemp("still") / "data"
    return write_dataset(folder, {"train": clips, "test": clips[:3]}, num_classes=3)


def test_logits_are_the_mean_over_windows_in_the_order_of_the_index(data, tmp_path):
    clip = ClipConfig(6, 24, 32, short_side=28)
    teachers = {"flow": flow_teacher()}
    kept = keep_teacher_logits(
        teachers, clip, 3, data, tmp_path, name="labelled", batch_size=4, progress=False
    )
    expected = np.zeros((15, 3))
    for view in evenly_spread_views(3, 1):
        batches = build_dataset(
            data, "train", clip=clip, streams=["flow"], batch_size=15, training=False, view=view
        )
        expected += flow_logits(next(iter(batches))["flow"]).numpy() / 3
    assert kept["flow"].dtype == np.float32
    np.testing.assert_allclose(kept["flow"], expected, rtol=1e-5)
    # The class of a clip shows in its flow, so the order does as well.
    labels = np.array([entry.label for entry in read_index(data, "train")])
    assert len({tuple(row.round(4)) for row in kept["flow"]}) == len(set(labels)) == 3

    def fail(flow):
        raise AssertionError("computed again")

    again = keep_teacher_logits(
        {"flow": Teacher(fail, "flow")},
        clip,
        3,
        data,
        tmp_path,
        name="labelled",
        batch_size=4,
        progress=False,
    )
    np.testing.assert_array_equal(again["flow"], kept["flow"])


def test_logits_of_other_weights_or_clips_are_computed_again(data, tmp_path):
    scale = tf.Variable(1.0)
    model = types.SimpleNamespace(variables=[scale])
    teacher = Teacher(lambda flow: scale * flow_logits(flow), "flow", model=model)

    def kept(frames=6):
        clip = ClipConfig(frames, 24, 32, short_side=28)
        return keep_teacher_logits(
            {"flow": teacher}, clip, 1, data, tmp_path, name="all", batch_size=4, progress=False
        )["flow"]

    before = kept()
    scale.assign(2.0)
    np.testing.assert_allclose(kept(), 2 * before, rtol=1e-5)
    assert not np.allclose(kept(frames=3), 2 * before)


def test_where_there_is_one_view_a_student_learns_the_same(still_data, tmp_path):
    """And without its teachers' streams in the batch."""
    at_each_step = CONFIG.replace(distill=DistillConfig())
    teachers = {"flow": flow_teacher()}
    one = train(at_each_step, still_data, tmp_path / "one", teachers=teachers, progress=False)
    other = train(CONFIG, still_data, tmp_path / "other", teachers=teachers, progress=False)
    for ours, theirs in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert not (tmp_path / "other" / "teacher_logits").exists()
    without = train(at_each_step, still_data, tmp_path / "without", progress=False)
    changes = [abs(a - b).max() for a, b in zip(weights(one), weights(without), strict=True)]
    assert max(changes) > 1e-3


def test_a_resumed_run_is_the_same_also_of_clips_without_labels(data, tmp_path, killed_and_resumed):
    config = CONFIG.replace(
        clip=ClipConfig(6, 24, 32, short_side=28),
        distill=DistillConfig(teacher_windows=2, unlabelled_batch=2),
    )
    others = write_tiny_dataset(tmp_path / "others", num_classes=2)
    options = {"teachers": {"flow": flow_teacher()}, "unlabelled": others}
    whole = train(config, data, tmp_path / "whole", **options, progress=False)
    resumed = killed_and_resumed(5, config, data, tmp_path / "resumed", **options)
    for ours, theirs in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    changed = config.replace(distill=dataclasses.replace(config.distill, teacher_windows=1))
    with pytest.raises(InputError, match="holds another run: distill.teacher_windows was 2, is 1"):
        train(changed, data, tmp_path / "whole", **options, progress=False)


def test_records_without_a_teachers_stream_are_refused_before_anything_is_written(tmp_path):
    clips = [make_clip(i, i % 3, frames=6, height=24, width=32) for i in range(6)]
    rgb = write_dataset(tmp_path / "rgb", {"train": clips}, num_classes=3, flow=False)
    with pytest.raises(InputError, match="flow"):
        train(CONFIG, rgb, tmp_path / "run", teachers={"flow": flow_teacher()}, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_batch_need_not_hold_what_teachers_see():
    distiller = Distiller(tf_keras.Sequential(), {"flow": flow_teacher()}, logits_in_batch=True)
    assert distiller.streams == ("rgb",)
    assert distiller.seen_streams == ("rgb", "flow")
