"""TensorFlow's half: the real train step as HLO, and what in it belongs to the host."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.python.framework import kernels

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.folding import fold_teacher
from perfnet_tf.models.freezing import find_frozen_layers, freeze_layers
from perfnet_tf.models.modes import traced_for_tpu
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.streams import LABEL, SOURCES, STREAMS
from perfnet_tf.training.optimizers import build_optimizer, decays_kernels

#: In a graph, but nothing that runs.
_STRUCTURE = {
    "Placeholder", "PlaceholderWithDefault", "NoOp", "PartitionedCall",
    "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case",
    "StatelessCase",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class LoweredStep:
    """A train step for TPU compilers.

    Attributes:
        hlo: a serialized HloModuleProto; empty if there are `host_ops`.
        host_ops: operations that only a host can run, as `TYPE (name)`.
        batch_bytes: of the batch that the host sends for each step.
    """

    hlo: bytes
    host_ops: tuple[str, ...]
    batch_bytes: int


def build_distiller(
    config: ExperimentConfig,
    num_classes: int,
    teachers: Sequence[str] = (),
    *,
    computed_again: Collection[str] | None = None,
) -> Distiller:
    """The student of a configuration and teachers of its network, with fresh weights, compiled.

    Args:
        config: stream, clip, network, loss and precision.
        num_classes: number of logits.
        teachers: the stream of each teacher.
        computed_again: the student's blocks whose activations are; None goes by `config`.

    Raises:
        InputError: an unknown stream, or options that break a rule.
    """
    with precision_policy(config.train.precision):
        student = build_from_config(config.model, num_classes, config.stream)
        freeze_layers(student, find_frozen_layers(student, config.train.freeze))
        networks = {
            stream: fold_teacher(
                build_from_config(config.model, num_classes, stream), config.train.precision
            )
            for stream in teachers
        }
        distiller = Distiller(
            student,
            networks,
            config.distill.loss if config.distill else "separate",
            render=config.pose_render,
            rematerialize=(
                config.train.rematerialize if computed_again is None else computed_again
            ),
            accumulate=config.train.accumulate,
            label_smoothing=config.train.label_smoothing,
            mixup=config.train.mixup,
            seed=config.train.seed,
            decay_in_loss=not decays_kernels(config.train),
        )
    # The schedule's length changes nothing but a constant.
    optimizer = build_optimizer(
        config.train,
        1000 * config.train.batch_size,
        model=student,
        weight_decay=config.model.weight_decay,
    )
    distiller.compile(optimizer)
    distiller.optimizer.build(student.trainable_variables)
    return distiller


def batch_specs(
    streams: Sequence[str],
    clip: ClipConfig,
    batch_size: int,
    *,
    max_people: int = PrepareConfig.max_people,
) -> dict[str, tf.TensorSpec]:
    """Shapes and types of `build_dataset`'s batches of these streams."""
    frames = (batch_size, clip.num_frames)
    sizes = {"height": clip.height, "width": clip.width, "people": max_people}
    used = {source for stream in streams for source in STREAMS[stream].sources}
    specs = {
        name: tf.TensorSpec([*frames, *source.frame_shape(**sizes)], tf.as_dtype(source.dtype))
        for name, source in SOURCES.items()
        if name in used
    }
    return {**specs, LABEL: tf.TensorSpec([batch_size], tf.int32)}


def lower_step(distiller: Distiller, specs: dict[str, tf.TensorSpec]) -> LoweredStep:
    """Traces `distiller.train_step` for such a batch and lowers it to HLO; computes nothing.

    Args:
        distiller: compiled, its optimizer built.
        specs: of the batch, with every size known.
    """
    names = list(specs)

    def step(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return distiller.train_step(dict(zip(names, values, strict=True)))

    function = tf.function(step, jit_compile=True, autograph=False)
    arguments = list(specs.values())
    with traced_for_tpu():
        graph = function.get_concrete_function(*arguments).graph
    batch_bytes = sum(spec.shape.num_elements() * spec.dtype.size for spec in arguments)
    host_ops = find_host_ops(graph)
    if host_ops:
        return LoweredStep(b"", host_ops, batch_bytes)
    # Variables cannot be lowered for a device that is absent; the CPU's unoptimised HLO is the
    # same program.
    lower = function.experimental_get_compiler_ir(*arguments)
    return LoweredStep(lower(stage="hlo_serialized", platform_name="CPU"), (), batch_bytes)


def find_host_ops(graph: tf.Graph) -> tuple[str, ...]:
    """The operations of a graph, and of the functions it calls, that XLA has no kernel for.

    Returns:
        `TYPE (name)` of each, in the order of the graph.
    """
    tf.function(lambda: tf.constant(0.0) + 1.0, jit_compile=True)()  # registers XLA's kernels
    definition = graph.as_graph_def()
    nodes = [(node.op, node.name) for node in definition.node]
    called = {function.signature.name for function in definition.library.function}
    for function in definition.library.function:
        nodes += [(node.op, node.name) for node in function.node_def]
    return tuple(
        f"{kind} ({name})"
        for kind, name in dict.fromkeys(nodes)
        if kind not in _STRUCTURE and kind not in called and not _compiles(kind)
    )


def _compiles(kind: str) -> bool:
    registered = kernels.get_registered_kernels_for_op(kind).kernel
    return any("XLA" in kernel.device_type for kernel in registered)
