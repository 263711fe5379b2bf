"""An S3D with full kernels into one with separable ones: copied where alike, else fitted.

The networks go through the same clips stage by stage. A separable convolution is fitted to what the
full one answers on its own input, from what the separable network sees there: errors of earlier
stages are known to later ones, which make up for a part of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.models.batch_norm import VideoBatchNormalization
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.inception_cells import Chain, InceptionCell
from perfnet_tf.models.layers import ConvUnit, FeatureGating, VideoMaxPool
from perfnet_tf.models.s3d import S3D
from perfnet_tf.transfer.separation import SIZE, Places, SeparableUnit, separate

#: One in so many batches, the last ones, is not fitted to, but measured on.
HELD_OUT = 8


@dataclass(frozen=True)
class UnitError:
    """How well a separable convolution answers as the full one.

    Attributes:
        place: of the convolution, as `layers_of` names it.
        fitted, held_out: share of the full one's variance, behind its ReLU, that the separable one
            misses: in the clips that it was fitted to, and in others.
    """

    place: str
    fitted: float
    held_out: float


def copy_alike(source: S3D, target: S3D) -> None:
    """Copies every layer that both networks have; new gates stay as they are.

    Args:
        source: with full kernels.
        target: the same network with separable ones, with or without gates.
    """
    names = dict(zip(target.stages, source.stages, strict=True))
    found = layers_of(source)
    for place, layer in layers_of(target).items():
        stage, *rest = place.split(".")
        like = found.get(".".join([names[stage], *rest]))
        if like is not None:
            _copy(like, layer)
    _copy(source.classifier, target.classifier)


def separate_stages(
    source: S3D, target: S3D, batches: Sequence[np.ndarray], *, places: int, seed: int = 0
) -> Iterator[UnitError]:
    """Fits the separable convolutions of `target`, from the first to the last.

    Args:
        source: with full kernels.
        target: as of `copy_alike`, after it.
        batches: clips of the stream that both see, `[batch, frames, height, width, channels]`.
        places: in feature maps, over all clips, that each convolution is fitted to.
        seed: of the places.

    Yields:
        The error of each convolution once it is fitted.

    Raises:
        InputError: too few places for the unknowns of a convolution.
    """
    generator = np.random.default_rng(seed)
    seen = wanted = list(batches)  # by the separable network, by the full one
    # Layers still to go through; behind a convolution a pooling makes its output small.
    to_see: list[Callable[[tf.Tensor], tf.Tensor]] = [source.normalization]
    to_want = to_see
    alike = True  # until the first of the fitted convolutions
    for (name, full), stage in zip(source.stages.items(), target.stages.values(), strict=True):
        chains = list(_separable_chains(name, full, stage))
        if not chains:
            to_see, to_want = [*to_see, _inference(stage)], [*to_want, _inference(full)]
            continue
        wanted = list(_through(to_want, wanted))
        seen = wanted if alike else list(_through(to_see, seen))
        alike = False
        for place, full_chain, chain in chains:
            yield _fit(place, full_chain, chain, wanted, seen, places, generator)
        to_see, to_want = [_inference(stage)], [_inference(full)]


def _separable_chains(
    name: str, full: tf_keras.layers.Layer, stage: tf_keras.layers.Layer
) -> Iterator[tuple[str, Chain, Chain]]:
    """Place and both chains of layers, where one of them is separated."""
    if isinstance(stage, Chain):
        pairs = [(name, full, stage)]
    elif isinstance(stage, InceptionCell):
        pairs = [
            (f"{name}.{branch.name}", like, branch)
            for like, branch in zip(full.branches, stage.branches, strict=True)
        ]
    else:
        pairs = []
    for place, like, chain in pairs:
        if any(layer.name == "temporal" for layer in chain.layers):
            yield place, like, chain


def _fit(
    place: str,
    full: Chain,
    chain: Chain,
    wanted: list[np.ndarray],
    seen: list[np.ndarray],
    places: int,
    generator: np.random.Generator,
) -> UnitError:
    """Fits the separable convolution of a chain; what is before it is alike in both."""
    start = [layer.name for layer in chain.layers].index("spatial")
    spatial, temporal = chain.layers[start : start + 2]
    unit: ConvUnit = full.layers[start]
    before = [_inference(layer) for layer in full.layers[:start]]
    answers = [*before, _before_relu(unit)]
    share = -(-places // len(seen))
    found = [
        look_at(inputs, answered, share, generator)
        for inputs, answered in zip(_through(before, seen), _through(answers, wanted), strict=True)
    ]
    num_fitted = len(found) - max(1, len(found) // HELD_OUT)
    fitted_to, held_out = _joined(found[:num_fitted]), _joined(found[num_fitted:])
    epsilon = _norm_of(spatial).epsilon
    fitted = separate(_scaled_kernel(unit), fitted_to, held_out, epsilon=epsilon)
    _assign(fitted, spatial, temporal)
    errors = [some.missed(fitted.answers(some, epsilon)) for some in (fitted_to, held_out)]
    return UnitError(place, *errors)


def look_at(
    inputs: np.ndarray, answered: np.ndarray, count: int, generator: np.random.Generator
) -> Places:
    """Looks at random places of a batch: at all if there are no more than `count`."""
    shape = answered.shape[:-1]
    total = int(np.prod(shape))
    flat = generator.choice(total, min(count, total), replace=False)
    chosen = np.stack(np.unravel_index(flat, shape))
    return Places(*_windows(inputs, chosen), answered[tuple(chosen)])


def _joined(parts: Sequence[Places]) -> Places:
    return Places(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Places)
        )
    )


def _windows(inputs: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`windows` and `inside` of `separate`, around places `[clip, frame, row, column]`."""
    clip, frame, row, column = places
    margin = SIZE // 2
    edge = [(margin, margin)] * 3
    padded = np.pad(inputs, [(0, 0), *edge, (0, 0)])
    steps = range(SIZE)
    windows = np.stack(
        [padded[clip, frame + t, row + y, column + x] for t in steps for y in steps for x in steps],
        axis=1,
    )
    seen = frame[:, None] + np.arange(SIZE) - margin
    inside = (seen >= 0) & (seen < inputs.shape[1])
    return windows.reshape(len(clip), SIZE, -1), inside


def _norm_of(unit: ConvUnit) -> VideoBatchNormalization:
    assert unit.norm is not None  # only temporal convolutions have a bias instead
    return unit.norm


def _before_relu(unit: ConvUnit) -> Callable[[tf.Tensor], tf.Tensor]:
    norm = _norm_of(unit)
    return lambda inputs: norm(unit.conv(inputs), training=False)


def _scaled_kernel(unit: ConvUnit) -> np.ndarray:
    """The kernel with its norm's scale: what a factor of it should keep."""
    norm = _norm_of(unit)
    scale = 1 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    kernel: np.ndarray = unit.conv.kernel.numpy() * scale
    return kernel


def _assign(fitted: SeparableUnit, spatial: ConvUnit, temporal: ConvUnit) -> None:
    norm = _norm_of(spatial)
    spatial.conv.kernel.assign(fitted.spatial)
    norm.moving_mean.assign(fitted.mean)
    norm.moving_variance.assign(fitted.variance)
    norm.beta.assign(fitted.beta)
    temporal.conv.kernel.assign(fitted.temporal)
    temporal.conv.bias.assign(fitted.bias)


def _inference(layer: tf_keras.layers.Layer) -> Callable[[tf.Tensor], tf.Tensor]:
    if isinstance(layer, (VideoMaxPool, FeatureGating)):
        return layer
    return lambda inputs: layer(inputs, training=False)


def _through(
    layers: Sequence[Callable[[tf.Tensor], tf.Tensor]], batches: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """What layers, one after the other, make of every batch."""
    if not layers:
        yield from batches
        return

    @tf.function(autograph=False, reduce_retracing=True)
    def compute(inputs: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            inputs = layer(inputs)
        return inputs

    for batch in batches:
        yield compute(tf.constant(batch)).numpy()


def _copy(source: tf_keras.layers.Layer, target: tf_keras.layers.Layer) -> None:
    for before, after in zip(source.variables, target.variables, strict=True):
        after.assign(before)
