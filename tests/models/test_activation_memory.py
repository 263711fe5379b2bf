"""Blocks are computed again until a step's activations fit, and no further."""

import numpy as np
import pytest
import tensorflow as tf
from graph_order import operations_behind

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
    convolutions = 16 + 16 + 64 + 64  # between them nothing is kept; the sum's ReLU is the output
    assert cell.inside == position * convolutions
    assert cell.parts == dict.fromkeys(
        ("res2/cell1/expansion", "res2/cell1/shortcut"), position * 64
    )
    assert cell.outputs == position * 64 and cell.inputs == position * 16  # pooled in between
    assert blocks["res2/cell2"].inputs == 0
    assert blocks["res2/cell2"].inside == position * (16 + 16 + 64)
    assert blocks["conv1"].inside == 2 * 4 * 16 * 16 * 16 * 4  # its ReLU is the output
    assert blocks["conv1"].inputs == 2 * 4 * 32 * 32 * 3 * 4
    fused = {block.name: block for block in measure_blocks(network, SHAPE, for_xla=True)}
    assert fused["res2/cell1"].inside == position * convolutions and not fused["res2/cell1"].parts


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


def test_the_peak_of_a_block_in_parts_is_by_hand():
    block = BlockMemory("a", 1, 10, 4, {"a/end": 7})
    last = BlockMemory("b", 0, 20, 2)
    assert most_kept([block, last], {"a/end"}) == (1 + 3 + 4) + (20 + 2)
    assert most_kept([block, last], {"a/end", "a"}) == (1 + 4) + (20 + 2)  # the whole has its part


def test_as_few_blocks_as_fit_are_chosen_and_they_alone_are_computed_again(network):
    clip, clips = SHAPE[1:4], SHAPE[0]
    blocks = measure_blocks(network, SHAPE, for_xla=False)
    plain, least = most_kept(blocks), most_kept(blocks, {block.name for block in blocks})
    assert plan_activations(network, clip, clips, plain / GIB, for_xla=False).blocks == ()
    plan = plan_activations(network, clip, clips, 0.7 * plain / GIB, for_xla=False)
    assert least < plan.kept <= 0.7 * plain and plan.kept_by_plain_step == plain
    assert 0 < len(plan.blocks) < len(blocks)
    # Parts first: with these all, nothing more is needed.
    assert plan.whole == 0 < plan.in_part
    parts = {part: kept for block in blocks for part, kept in block.parts.items()}
    smallest = min(plan.blocks, key=parts.__getitem__)
    assert most_kept(blocks, set(plan.blocks) - {smallest}) > 0.7 * plain
    cells = {name.rpartition("/")[0] for name in plan.blocks}
    assert plan.in_part == len(cells)
    said = f"{len(cells)} of 17 blocks are computed again, {len(cells)} of them in part: "
    assert said + ", ".join(plan.blocks) in str(plan)
    tighter = plan_activations(network, clip, clips, 0.5 * plain / GIB, for_xla=False)
    whole = [name for name in tighter.blocks if name not in parts]
    assert 0 < len(whole) == tighter.whole
    assert not any(name.rpartition("/")[0] in whole for name in tighter.blocks if name in parts)

    plain_gradients, plain_convolutions = _step(network, ())
    inside = {"conv1": 1, "cell1": 4}  # and a shortcut; the other cells have three
    for chosen in (plan, tighter):
        gradients, convolutions = _step(network, chosen.blocks)
        again = sum(
            1 if name in parts else inside.get(name.split("/")[-1], 3) for name in chosen.blocks
        )
        assert convolutions - plain_convolutions == again
        for plain_gradient, gradient in zip(plain_gradients, gradients, strict=True):
            np.testing.assert_allclose(plain_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_a_budget_below_all_recomputed_is_refused(network):
    with pytest.raises(InputError, match=r"activation_gib.*0.001 GiB, of 2 clips of 4x32x32"):
        plan_activations(network, SHAPE[1:4], SHAPE[0], 0.001, for_xla=False)


def _step(network, computed_again):
    """Gradients of a step, and how many convolutions it executes."""

    @tf.function(autograph=False)
    def step(frames):
        with tf.GradientTape() as tape, rematerialization(computed_again):
            loss = tf.reduce_sum(network(frames, training=True) ** 2)
        return tape.gradient(loss, network.trainable_variables)

    frames = tf.constant(np.random.default_rng(0).random(SHAPE, np.float32))
    graph = step.get_concrete_function(frames).graph
    executed = operations_behind(graph.outputs)
    convolutions = sum(operation.type in ("Conv2D", "Conv3D") for operation in executed)
    return [value.numpy() for value in step(frames)], convolutions
