"""Recomputed activations and synchronised moments change what is kept, not what comes out."""

import contextlib
import re

import numpy as np
import pytest
import tensorflow as tf
from graph_order import operations_behind, readers
from tiny_network import fixed_weights

from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.layers import VideoBatchNormalization
from perfnet_tf.models.modes import keeping_all, rematerialization
from perfnet_tf.models.resnet3d import ResidualBlock

CLASSES = 3
OPTIONS = {"width_multiplier": 0.01, "dropout_rate": 0.0}


def step_of(model, *, enabled):
    """A graph that gives the loss and all gradients, and updates the moving moments."""

    def step(frames):
        with tf.GradientTape() as tape:
            with rematerialization(enabled):
                logits = model(frames, training=True)
            loss = tf.reduce_sum(logits * tf.constant([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]]))
        return [loss, *tape.gradient(loss, model.trainable_variables)]

    return step


def clips(shape=(2, 5, 24, 20, 3)):
    return tf.constant(np.random.default_rng(0).random(shape, np.float32))


@pytest.mark.parametrize("backbone", [pytest.param("r3d50_g", marks=pytest.mark.slow), "s3d_g"])
@pytest.mark.parametrize(
    "jit_compile",
    [
        pytest.param(False, id="graph"),
        pytest.param(True, id="xla", marks=pytest.mark.slow),
    ],
)
def test_gradients_and_moving_moments_are_those_of_a_plain_step(backbone, jit_compile):
    if jit_compile and backbone == "r3d50_g":
        pytest.skip("compiling takes long, and one network shows it")
    results, convolutions = [], []
    for enabled in (False, True):
        model = build_model(backbone, CLASSES, **OPTIONS)
        fixed_weights(model)
        step = tf.function(
            step_of(model, enabled=enabled), autograph=False, jit_compile=jit_compile
        )
        graph = step.get_concrete_function(clips()).graph
        convolutions.append(sum(op.type in ("Conv2D", "Conv3D") for op in graph.get_operations()))
        values = [value.numpy() for value in step(clips())]
        moments = [v.numpy() for v in model.non_trainable_variables]
        results.append((values, moments))
    names = [v.name for v in model.trainable_variables]
    (plain, plain_moments), (again, again_moments) = results
    assert any(np.abs(gradient).max() > 1e-3 for gradient in plain[1:])
    for name, one, other in zip(["loss", *names], plain, again, strict=True):
        # XLA fuses the two programs differently and so rounds differently: its own loss is 3e-6
        # to 2e-5 from the graph's. In a graph those of S3D-G are equal to the bit.
        largest = max(1.0, np.abs(other).max()) if jit_compile else 1.0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * largest, err_msg=name)
    assert len(plain_moments) > 10
    for one, other in zip(plain_moments, again_moments, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    if backbone == "s3d_g":  # every convolution is in a block
        assert convolutions[1] == 2 * convolutions[0]


def test_between_convolutions_nothing_is_kept_and_gradients_stay_the_same():
    """What CPUs and GPUs do by default, beside a step that keeps all."""
    frames = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 6, 6, 8)), tf.float32)
    results = []
    for mode in (keeping_all, contextlib.nullcontext):
        norm = BatchNormOptions(0.9, 1e-5)
        block = ResidualBlock(
            4, (3, 1), 2, stride_on="spatial", gating="block", weight_decay=0.0, batch_norm=norm
        )
        block(frames)  # builds
        fixed_weights(block)

        @tf.function(autograph=False)
        def step(frames, block=block, mode=mode):
            with tf.GradientTape() as tape, mode():
                loss = tf.reduce_sum(block(frames, training=True) ** 2)
            return [loss, *tape.gradient(loss, block.trainable_variables)]

        outputs = step.get_concrete_function(frames).graph.outputs
        forward, executed = operations_behind(outputs[:1]), operations_behind(outputs)
        inside = [
            operation.outputs[0]
            for operation in forward
            if operation.type == "Relu" and re.search(r"(temporal|spatial)\w*/Relu", operation.name)
        ]
        kept = [value for value in inside if readers(value) & (executed - forward)]
        gradients = [value.numpy() for value in step(frames)]
        moments = [variable.numpy() for variable in block.non_trainable_variables]
        results.append((len(inside), len(kept), gradients + moments))
    assert [(inside, kept) for inside, kept, _ in results] == [(4, 4), (4, 0)]
    assert max(np.abs(value).max() for value in results[0][2]) > 0.1
    for one, other in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_second_computation_survives_the_compiler():
    """XLA merges equal computations; what is left of the memory saved is what counts."""
    layer = [tf.Variable(tf.eye(64) * 0.5, name=f"kernel{i}") for i in range(12)]

    class Block:
        def __init__(self, kernel):
            self.kernel = kernel

        def __call__(self, inputs, training):
            return tf.nn.tanh(tf.nn.tanh(inputs @ self.kernel) * 2.0) + tf.sin(inputs)

    from perfnet_tf.models.rematerialization import call_block

    def compiled(enabled):
        def step(inputs):
            with tf.GradientTape() as tape, rematerialization(enabled):
                outputs = inputs
                for kernel in layer:
                    outputs = call_block(Block(kernel), outputs, training=True, name="block")
                loss = tf.reduce_sum(outputs)
            return tape.gradient(loss, layer)

        function = tf.function(step, autograph=False, jit_compile=True)
        text = function.experimental_get_compiler_ir(tf.zeros([256, 64]))(stage="optimized_hlo")
        return text.count(" tanh(")

    assert compiled(True) > compiled(False)


def test_batch_norm_without_training_or_outside_is_a_plain_layer():
    layer = VideoBatchNormalization(momentum=0.5)
    frames = clips((2, 3, 4, 5, 6))
    with rematerialization():
        layer(frames, training=False)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(6))
    layer(frames, training=True)
    np.testing.assert_allclose(
        layer.moving_mean, 0.5 * np.mean(frames, axis=(0, 1, 2, 3)), rtol=1e-5
    )
