"""TensorFlow's half of tpu-check: the step that is lowered is the one that trains."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_network import TinyNetwork

from perfnet_tf.config import ClipConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.tpu_check.compile_worker import find_dynamic_shapes, find_host_calls
from perfnet_tf.tpu_check.lowering import batch_specs, lower_step

CLIP = ClipConfig(6, 24, 32, short_side=28)


def distiller_of(teachers=None):
    student = TinyNetwork(3).build_for_stream()
    distiller = Distiller(student, teachers)
    distiller.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9))
    distiller.optimizer.build(student.trainable_variables)
    return distiller


def hlo_text(function, *arguments):
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*arguments)(stage="hlo")


@pytest.mark.parametrize("streams", [("rgb",), ("rgb", "flow"), ("rgb", "flow", "pose")])
def test_the_batch_is_that_of_a_prepared_dataset(tmp_path, streams):
    from prepared_clips import MAX_PEOPLE, write_tiny_dataset

    data = write_tiny_dataset(tmp_path / "data", clips_per_class=1)
    dataset = build_dataset(data, "train", clip=CLIP, streams=streams, batch_size=3, training=True)
    assert batch_specs(streams, CLIP, 3, max_people=MAX_PEOPLE) == dict(dataset.element_spec)


def test_a_step_is_lowered_without_being_run():
    flow, pose = TinyNetwork(3, stream="flow"), TinyNetwork(3, stream="pose")
    teachers = {"flow": flow.build_for_stream(), "pose": pose.build_for_stream()}
    distiller = distiller_of(teachers)
    before = [v.numpy() for v in distiller.variables]
    specs = batch_specs(distiller.streams, CLIP, 2)
    step = lower_step(distiller, specs)
    assert step.host_ops == ()
    assert b"convolution" in step.hlo
    pixels = 2 * 6 * 24 * 32
    people = 2 * 6 * 5 * (17 * 3 + 4) * 4
    assert step.batch_bytes == pixels * 3 + pixels * 2 * 4 + people + 2 * 4
    for one, other in zip(before, distiller.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_only_a_host_can_run_is_named():
    def teacher(frames):
        mean = tf.numpy_function(
            lambda x: x.mean((1, 2, 3)), [tf.cast(frames, tf.float32)], tf.float32
        )
        tf.print("seen")
        return tf.ensure_shape(mean, [2, 3])

    step = lower_step(distiller_of({"rgb": teacher}), batch_specs(["rgb"], CLIP, 2))
    assert step.hlo == b""
    kinds = {name.split(" ")[0] for name in step.host_ops}
    assert "PyFunc" in kinds and "PrintV2" in kinds
    assert kinds <= {"PyFunc", "PrintV2", "StringFormat"}


def test_a_size_that_depends_on_values_is_named():
    def bright(values):
        with tf.name_scope("only_bright"):
            return tf.reduce_sum(tf.boolean_mask(values, values > 0.5))

    found = find_dynamic_shapes(hlo_text(bright, tf.zeros([8, 3])))
    assert any("only_bright" in name for name in found), found
    assert find_dynamic_shapes(hlo_text(lambda v: tf.reduce_sum(v), tf.zeros([8, 3]))) == []


def test_calls_that_leave_the_device_are_named():
    line = (
        '  %call = f32[2]{0} custom-call(f32[2]{0} %a), custom_call_target="host_callback", '
        'metadata={op_type="Thing" op_name="teacher/Thing"}'
    )
    sharding = '  %s = f32[2]{0} custom-call(f32[2]{0} %a), custom_call_target="Sharding"'
    transfer = '  %o = token[] outfeed(f32[2]{0} %a, token[] %t), metadata={op_name="print"}'
    plain = "  %sum = f32[2]{0} add(f32[2]{0} %a, f32[2]{0} %send)"
    found = find_host_calls("\n".join([line, sharding, transfer, plain]))
    assert found == ["Thing (teacher/Thing) by calling host_callback", "%o (print)"]
