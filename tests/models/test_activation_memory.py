"""Blocks are computed again until a step's activations fit, and no further."""

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.activation_memory import (
    BlockMemory,
    measure_blocks,
    most_kept,
    plan_activations,
)
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.modes import rematerialization
from perfnet_tf.models.precision import precision_policy

OPTIONS = {"width_multiplier": 0.25, "dropout_rate": 0.0}
SHAPE = (2, 4, 32, 32, 3)
GIB = 2**30


@pytest.fixture(scope="module")
def network():
    return build_model("r3d50_g", 3, **OPTIONS)


def test_bytes_of_a_cell_are_those_of_its_layers(network):
    """res2's first cell by hand: 16 filters, 64 outputs, on 4 x 8 x 8 positions of 2 clips."""
    blocks = {block.name: block for block in measure_blocks(network, SHAPE, for_xla=False)}
    assert list(blocks)[:3] == ["conv1", "res2/cell1", "res2/cell2"] and len(blocks) == 17
    position = 2 * 4 * 8 * 8 * 4  # bytes of one channel in float32
    cell = blocks["res2/cell1"]
    convolutions = 16 + 16 + 64 + 64
    rectified = 16 + 16  # the sum's is the output
    assert cell.inside == position * (convolutions + rectified)
    assert cell.outputs == position * 64 and cell.inputs == position * 16  # pooled in between
    assert blocks["res2/cell2"].inputs == 0
    assert blocks["res2/cell2"].inside == position * (16 + 16 + 64 + 16 + 16)
    assert blocks["conv1"].inputs == 2 * 4 * 32 * 32 * 3 * 4
    fused = {block.name: block for block in measure_blocks(network, SHAPE, for_xla=True)}
    assert fused["res2/cell1"].inside == position * convolutions


def test_half_the_precision_takes_half_the_bytes():
    with precision_policy("mixed_bfloat16"):
        halved = build_model("s3d_g", 3, **OPTIONS)
    full = build_model("s3d_g", 3, **OPTIONS)
    for half, whole in zip(
        *(measure_blocks(model, SHAPE, for_xla=True) for model in (halved, full)), strict=True
    ):
        assert (half.name, 2 * half.inside) == (whole.name, whole.inside)


def test_the_peak_is_by_hand():
    blocks = [BlockMemory("a", 1, 10, 4), BlockMemory("b", 0, 20, 2), BlockMemory("c", 3, 5, 1)]
    assert most_kept(blocks) == (1 + 10 + 4) + (20 + 2) + (3 + 5 + 1)
    assert most_kept(blocks, {"b"}) == 15 + 22  # b itself, when its turn comes
    assert most_kept(blocks, {"a", "b"}) == 5 + 22


def test_as_few_blocks_as_fit_are_chosen_and_they_alone_are_computed_again(network):
    clip, clips = SHAPE[1:4], SHAPE[0]
    blocks = measure_blocks(network, SHAPE, for_xla=False)
    plain, least = most_kept(blocks), most_kept(blocks, {block.name for block in blocks})
    assert plan_activations(network, clip, clips, plain / GIB, for_xla=False).blocks == ()
    plan = plan_activations(network, clip, clips, 0.7 * plain / GIB, for_xla=False)
    assert least < plan.kept <= 0.7 * plain and plan.kept_by_plain_step == plain
    assert 0 < len(plan.blocks) < len(blocks)
    by_name = {block.name: block for block in blocks}
    smallest = min(plan.blocks, key=lambda name: by_name[name].inside)
    assert most_kept(blocks, set(plan.blocks) - {smallest}) > 0.7 * plain
    assert f"{len(plan.blocks)} of 17 blocks are computed again: {plan.blocks[0]}" in str(plan)

    convolutions, gradients = [], []
    for names in ((), plan.blocks):

        @tf.function(autograph=False)
        def step(frames, names=names):
            with tf.GradientTape() as tape, rematerialization(names):
                loss = tf.reduce_sum(network(frames, training=True) ** 2)
            return tape.gradient(loss, network.trainable_variables)

        frames = tf.constant(np.random.default_rng(0).random(SHAPE, np.float32))
        graph = step.get_concrete_function(frames).graph
        convolutions.append(_count(graph, "Conv2D") + _count(graph, "Conv3D"))
        gradients.append([value.numpy() for value in step(frames)])
    inside = {"conv1": 1, "cell1": 4}  # and a shortcut; the other cells have three
    again = sum(inside.get(name.split("/")[-1], 3) for name in plan.blocks)
    assert convolutions[1] - convolutions[0] == again
    for plain_gradient, gradient in zip(*gradients, strict=True):
        np.testing.assert_allclose(plain_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_a_budget_below_all_recomputed_is_refused(network):
    with pytest.raises(InputError, match=r"activation_gib.*0.001 GiB, of 2 clips of 4x32x32"):
        plan_activations(network, SHAPE[1:4], SHAPE[0], 0.001, for_xla=False)


def _count(graph, kind):
    return sum(operation.type == kind for operation in graph.get_operations())
