"""What a training step keeps of a network's blocks for the gradient, and which to compute again."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models import modes
from perfnet_tf.models.rematerialization import BETWEEN_CONVOLUTIONS, PART, ObservedCall
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
        parts: what the block's parts that are worth computing again alone keep, of `inside`, by
            name. Empty if XLA compiles the step: on a TPU that moved 40 GB for each GiB saved, a
            whole block 10.
    """

    name: str
    inputs: int
    inside: int
    outputs: int
    parts: Mapping[str, int] = field(default_factory=dict)

    def kept_inside(self, computed_again: Collection[str]) -> int:
        """Of `inside`, where blocks and parts of these names are computed again."""
        if self.name in computed_again:
            return 0
        return self.inside - sum(self.parts[part] for part in self.parts if part in computed_again)


@dataclass(frozen=True)
class ActivationPlan:
    """The blocks that are computed again, and what a step then keeps.

    Attributes:
        blocks: names of blocks and, as `BLOCK/PART`, of parts of others, in the network's order.
        whole, in_part: how many blocks are computed again as wholes, and how many in part.
        of: how many blocks the network has.
        kept: estimate of the most bytes that activations take at once on a device.
        kept_by_plain_step: the same if nothing is computed again.
    """

    blocks: tuple[str, ...]
    whole: int
    in_part: int
    of: int
    kept: int
    kept_by_plain_step: int

    def __str__(self) -> str:
        """One line."""
        kept = f"activations take {self.kept / GIB:.3g} GiB by estimate"
        if not self.blocks:
            return f"{kept}, none are computed again"
        some = f", {self.in_part} of them in part" if self.in_part else ""
        return (
            f"{kept} ({self.kept_by_plain_step / GIB:.3g} without): {self.whole + self.in_part} of "
            f"{self.of} blocks are computed again{some}: {', '.join(self.blocks)}"
        )


def plan_activations(
    model: VideoModel, clip_shape: Sequence[int], clips: int, budget_gib: float, *, for_xla: bool
) -> ActivationPlan:
    """As little to compute again as brings a step's activations within a budget.

    Parts of blocks that cost little come first, then blocks; of each those that keep most, of
    equals the earlier.

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
    # Parts first: the arithmetic of a whole block frees little more.
    parts = [kept for block in blocks for kept in block.parts.items()]
    wholes = [(block.name, block.inside) for block in blocks]
    chosen: set[str] = set()
    for candidates in (parts, wholes):
        for name, _ in sorted(candidates, key=lambda candidate: -candidate[1]):
            if most_kept(blocks, chosen) <= budget_gib * GIB:
                break
            chosen.add(name)
    kept = most_kept(blocks, chosen)
    if kept > budget_gib * GIB:
        raise InputError(
            "Activations must fit `activation_gib`, if need be computed again. Received: "
            f"{budget_gib:g} GiB, of {clips} clips of {'x'.join(map(str, clip_shape))} that take "
            f"{kept / GIB:.3g} GiB by estimate if all are. Take a smaller batch, more "
            "micro-batches (`accumulate`), or smaller clips."
        )
    names: list[str] = []
    whole = in_part = 0
    for block in blocks:
        if block.name in chosen:
            names.append(block.name)
            whole += 1
        elif again := [part for part in block.parts if part in chosen]:
            names += again
            in_part += 1
    return ActivationPlan(tuple(names), whole, in_part, len(blocks), kept, plain)


def measure_blocks(
    model: VideoModel, shape: Sequence[int], *, for_xla: bool
) -> tuple[BlockMemory, ...]:
    """What a training step on `[clips, frames, height, width, channels]` keeps of each block.

    Counted in a graph that is traced and never run: the results of convolutions, rectifications and
    poolings inside of each block, and what goes from block to block.
    """
    calls: list[ObservedCall] = []

    @tf.function(autograph=False)
    def forward(frames: tf.Tensor) -> tf.Tensor:
        with modes.observed_blocks(calls.append):
            return model(frames, training=True)

    with modes.traced_for_any_device():
        graph = forward.get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph
    operations = graph.get_operations()
    types = _KEPT_BY_XLA if for_xla else _KEPT
    never_kept: set[int] = set()

    def kept_by(call: ObservedCall) -> int:
        output = _source(call.outputs).op
        return sum(
            _bytes_of(operations[index].outputs[0])
            for index in call.operations
            if operations[index].type in types
            and operations[index] is not output
            and index not in never_kept
        )

    blocks: list[BlockMemory] = []
    parts: dict[str, int] = {}
    last = None
    for call in calls:  # what is inside of another comes before it
        if call.kind == BETWEEN_CONVOLUTIONS:
            output = _source(call.outputs).op
            never_kept |= {index for index in call.operations if operations[index] is not output}
        elif call.kind == PART:
            if not for_xla:
                parts[call.name] = kept_by(call)
        else:
            handed_on = last is not None and _source(call.inputs) is last
            inputs = 0 if handed_on else _bytes_of(call.inputs)
            outputs = _bytes_of(call.outputs)
            blocks.append(BlockMemory(call.name, inputs, kept_by(call), outputs, parts))
            parts = {}
            last = _source(call.outputs)
    return tuple(blocks)


def most_kept(blocks: Sequence[BlockMemory], computed_again: Collection[str] = ()) -> int:
    """The most bytes of activations at once in a step, while its gradient goes back.

    A block that is computed again, in part or whole, has all of its own when its turn comes.
    """
    kept, most = 0, 0
    for block in blocks:
        boundary = block.inputs + block.outputs
        most = max(most, kept + boundary + block.inside)
        kept += boundary + block.kept_inside(computed_again)
    return most


def _source(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in _VIEWS:
        tensor = tensor.op.inputs[0]
    return tensor


def _bytes_of(tensor: tf.Tensor) -> int:
    return int(math.prod(tensor.shape) * tensor.dtype.size)
