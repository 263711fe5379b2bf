"""What a training step keeps of a network's blocks for the gradient, and which to compute again."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models import modes
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import STREAM_CHANNELS

GIB = 2**30
#: Operations whose results the gradient needs. XLA computes rectifications and poolings within the
#: operations that read them, so that what they are computed from is enough.
_KEPT_BY_XLA = ("Conv2D", "Conv3D")
_KEPT = (*_KEPT_BY_XLA, "Relu", "MaxPool", "MaxPool3D")
_VIEWS = ("Identity", "Reshape")


@dataclass(frozen=True)
class BlockMemory:
    """What a step keeps of a block that `call_block` calls, in bytes.

    Attributes:
        name: of the block in its network.
        inputs: of its input; 0 if that is the output of the block before.
        inside: of what a plain block keeps besides, and one that is computed again does not.
        outputs: of its output.
    """

    name: str
    inputs: int
    inside: int
    outputs: int


@dataclass(frozen=True)
class ActivationPlan:
    """The blocks that are computed again, and what a step then keeps.

    Attributes:
        blocks: their names, in the network's order.
        of: how many blocks the network has.
        kept: estimate of the most bytes that activations take at once on a device.
        kept_by_plain_step: the same if nothing is computed again.
    """

    blocks: tuple[str, ...]
    of: int
    kept: int
    kept_by_plain_step: int

    def __str__(self) -> str:
        """One line."""
        kept = f"activations take {self.kept / GIB:.3g} GiB by estimate"
        if not self.blocks:
            return f"{kept}, none are computed again"
        return (
            f"{kept} ({self.kept_by_plain_step / GIB:.3g} without): {len(self.blocks)} of "
            f"{self.of} blocks are computed again: {', '.join(self.blocks)}"
        )


def plan_activations(
    model: VideoModel, clip_shape: Sequence[int], clips: int, budget_gib: float, *, for_xla: bool
) -> ActivationPlan:
    """As few blocks to compute again as bring a step's activations within a budget.

    Those that keep most come first, of equals the earlier.

    Args:
        model: a built network of this package, of the precision that it trains in.
        clip_shape: frames, height and width.
        clips: on one device, at once.
        budget_gib: for activations, in GiB.
        for_xla: whether XLA compiles the step, as it does for TPUs.

    Raises:
        InputError: the network keeps more even if all its blocks are computed again, or has no
            blocks.
    """
    shape = (clips, *clip_shape, STREAM_CHANNELS[model.stream])
    blocks = measure_blocks(model, shape, for_xla=for_xla)
    if not blocks:
        raise InputError(
            "`activation_gib` needs a network whose blocks can be computed again "
            f"(`rematerialization.call_block`). Received: {type(model).__name__}, which has none. "
            "Leave it out."
        )
    plain = most_kept(blocks)
    chosen: set[str] = set()
    for block in sorted(blocks, key=lambda block: -block.inside):
        if most_kept(blocks, chosen) <= budget_gib * GIB:
            break
        chosen.add(block.name)
    kept = most_kept(blocks, chosen)
    if kept > budget_gib * GIB:
        raise InputError(
            "Activations must fit `activation_gib`, if need be computed again. Received: "
            f"{budget_gib:g} GiB, of {clips} clips of {'x'.join(map(str, clip_shape))} that take "
            f"{kept / GIB:.3g} GiB by estimate if all are. Take a smaller batch, more "
            "micro-batches (`accumulate`), or smaller clips."
        )
    names = tuple(block.name for block in blocks if block.name in chosen)
    return ActivationPlan(names, len(blocks), kept, plain)


def measure_blocks(
    model: VideoModel, shape: Sequence[int], *, for_xla: bool
) -> tuple[BlockMemory, ...]:
    """What a training step on `[clips, frames, height, width, channels]` keeps of each block.

    Counted in a graph that is traced and never run: the results of convolutions, rectifications and
    poolings inside of each block, and what goes from block to block.
    """
    seen: list[tuple[str, tf.Tensor, tf.Tensor, int, int]] = []

    def observe(name: str, inputs: tf.Tensor, outputs: tf.Tensor, before: int) -> None:
        after = len(outputs.graph.get_operations())
        seen.append((name, inputs, outputs, before, after))

    @tf.function(autograph=False)
    def forward(frames: tf.Tensor) -> tf.Tensor:
        with modes.observed_blocks(observe):
            return model(frames, training=True)

    with modes.traced_for_any_device():
        graph = forward.get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph
    operations = graph.get_operations()
    kept = _KEPT_BY_XLA if for_xla else _KEPT
    blocks = []
    last = None
    for name, inputs, outputs, before, after in seen:
        source = _source(outputs)
        inside = sum(
            _bytes_of(operation.outputs[0])
            for operation in operations[before:after]
            if operation.type in kept and operation is not source.op
        )
        handed_on = last is not None and _source(inputs) is last
        blocks.append(
            BlockMemory(name, 0 if handed_on else _bytes_of(inputs), inside, _bytes_of(outputs))
        )
        last = source
    return tuple(blocks)


def most_kept(blocks: Sequence[BlockMemory], computed_again: Collection[str] = ()) -> int:
    """The most bytes of activations at once in a step, while its gradient goes back.

    A block that is computed again has all of its own when its turn comes.
    """
    kept, most = 0, 0
    for block in blocks:
        boundary = block.inputs + block.outputs
        most = max(most, kept + boundary + block.inside)
        kept += boundary + (0 if block.name in computed_again else block.inside)
    return most


def _source(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in _VIEWS:
        tensor = tensor.op.inputs[0]
    return tensor


def _bytes_of(tensor: tf.Tensor) -> int:
    return int(math.prod(tensor.shape) * tensor.dtype.size)
