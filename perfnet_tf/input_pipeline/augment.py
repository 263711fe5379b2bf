"""Where a training clip is cut from its video and how it is changed, the same for every stream.

A `ClipView` is one draw: when the clip begins, where the crop is, whether it is mirrored, and its
brightness and contrast. All streams of a clip are cut by one view, so that a flow or pose teacher
sees exactly what its student sees. Everything here is a graph function for `tf.data`, stateless:
the same view gives the same clip.

Source: PERF-Net Sec. 4 (window, resize, crop, mirror, contrast, brightness). The paper gives no
ranges; brightness +-32 of 255 and contrast 0.5 to 1.5 are those of TF-slim's Inception
preprocessing (`distort_color`).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline.cutting import Placement, to_levels
from perfnet_tf.streams import SOURCES, Source

#: Largest change of brightness, in levels of 0..255, up or down.
MAX_BRIGHTNESS = 32.0
#: Range of the factor by which levels are spread around their mean.
CONTRAST_RANGE = (0.5, 1.5)


class ClipView(NamedTuple):
    """One way of cutting and colouring a clip.

    Attributes:
        start, top, left: float32 scalars in [0, 1]: 0 is the first place where the window or crop
            fits, 1 the last.
        mirror: bool scalar.
        brightness: float32 scalar, levels of 0..255 that are added.
        contrast: float32 scalar, factor around the clip's mean colour.
    """

    start: tf.Tensor
    top: tf.Tensor
    left: tf.Tensor
    mirror: tf.Tensor
    brightness: tf.Tensor
    contrast: tf.Tensor


def central_view() -> ClipView:
    """The view of evaluation: central window, central crop, nothing changed."""
    half = tf.constant(0.5)
    return ClipView(half, half, half, tf.constant(False), tf.constant(0.0), tf.constant(1.0))


def evenly_spread_views(num_windows: int, num_crops: int) -> list[ClipView]:
    """The views of multi-view evaluation: every window of a video with every crop.

    Windows lie evenly from the first to the last place of the video, crops from the top left to the
    bottom right: of frames resized to the crop's height, from left to right. One of either is the
    central one. Source: SlowFast (Feichtenhofer et al. 2019) takes 10 windows and 3 crops.

    Args:
        num_windows, num_crops: 1 or greater.
    """
    central = central_view()
    return [
        central._replace(start=tf.constant(start), top=tf.constant(place), left=tf.constant(place))
        for start in _evenly(num_windows)
        for place in _evenly(num_crops)
    ]


def _evenly(count: int) -> list[float]:
    return [0.5] if count == 1 else [i / (count - 1) for i in range(count)]


def draw_view(seed: tf.Tensor, *, mirror: bool) -> ClipView:
    """A random view.

    Args:
        seed: int32 or int64 `[2]`; equal seeds give equal views.
        mirror: mirror half of the clips, or none.
    """
    draws = tf.unstack(tf.random.stateless_uniform([6], seed))
    low, high = CONTRAST_RANGE
    return ClipView(
        start=draws[0],
        top=draws[1],
        left=draws[2],
        mirror=tf.logical_and(mirror, draws[3] < 0.5),
        brightness=(2.0 * draws[4] - 1.0) * MAX_BRIGHTNESS,
        contrast=low + (high - low) * draws[5],
    )


def frame_indices(num_stored: tf.Tensor, clip: ClipConfig, start: tf.Tensor) -> tf.Tensor:
    """Which stored frames make the clip: every `frame_stride`-th of a window.

    A video shorter than the window repeats its last frame. PERF-Net Sec. 4 repeats "the first or
    the last"; the last keeps what happens where the network sees it in longer videos: at once.

    Args:
        num_stored: int32 scalar, at least 1.
        clip: the window.
        start: float32 scalar in [0, 1]: where among the places that fit.

    Returns:
        int32 `[clip.num_frames]`, ascending.
    """
    span = (clip.num_frames - 1) * clip.frame_stride + 1
    first = _place(start, num_stored - span)
    indices = first + tf.range(clip.num_frames) * clip.frame_stride
    return tf.minimum(indices, num_stored - 1)


def crop_window(stored: tf.Tensor, clip: ClipConfig, view: ClipView) -> tf.Tensor:
    """What `cut_streams` needs of each frame: the crop, or the whole of frames to be resized.

    Args:
        stored: int32 `[2]`, height and width of the frames.
        clip: size of the crop.
        view: where.

    Returns:
        int32 `[4]`: top, left, height and width.
    """
    resized, corner = _placed(stored, clip, view)
    crop = tf.concat([corner, [clip.height, clip.width]], 0)
    whole = tf.concat([[0, 0], stored], 0)
    return tf.where(tf.reduce_all(resized == stored), crop, whole)


def cut_streams(
    sources: dict[str, tf.Tensor],
    clip: ClipConfig,
    view: ClipView,
    *,
    stored: tf.Tensor | None = None,
    compiled: bool = False,
) -> dict[str, tf.Tensor]:
    """Resizes, crops, mirrors and colours everything that belongs to one clip.

    Frames are resized (aspect kept, anti-aliased) so that the shorter side has
    `clip.resized_short_side` pixels, or more where the crop would not fit otherwise, and cropped.

    Args:
        sources: any of `rgb` uint8 `[frames, height, width, 3]`, `flow` float32
            `[frames, height, width, 2]` in pixels per frame, `keypoints` float32
            `[frames, people, 17, 3]`, `boxes` float32 `[frames, people, 4]`, and registered ones.
            Sizes may be unknown when the graph is made, but one must have a height and a width.
        clip: size of the crop.
        view: where.
        stored: int32 `[2]`, height and width of the frames if all that is left of `rgb` is its
            `crop_window`; None if it is whole.
        compiled: change colours by XLA, where `processor_compiles`.

    Returns:
        The same keys and dtypes. `rgb` and `flow` have the crop's size; flow is in pixels of the
        resized frame; keypoints and boxes are in fractions of the crop and not clipped to it, so
        that a limb that leaves the picture keeps its direction.
    """
    if stored is None:
        maps = [sources[n] for n, s in SOURCES.items() if n in sources and "height" in s.shape]
        stored = tf.shape(maps[0])[1:3]  # height, width
    crop_size = tf.constant([clip.height, clip.width])
    place = Placement(stored, *_placed(stored, clip, view), crop_size)
    result = {}
    for name, source in SOURCES.items():
        if name in sources:
            values = source.cut(sources[name], place)
            if source.colored:
                result[name] = _mirror_and_color(values, view, compiled=compiled)
            else:
                result[name] = _mirror(values, source, view)
    return result


def _mirror(values: tf.Tensor, source: Source, view: ClipView) -> tf.Tensor:
    return tf.cond(view.mirror, lambda: source.mirror(values), lambda: values)


def adjust_colors(rgb: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Spreads levels around the clip's mean colour, then adds `brightness`.

    Args:
        rgb: uint8 `[frames, height, width, 3]`.
        brightness: float32 scalar, levels of 0..255.
        contrast: float32 scalar factor.

    Returns:
        uint8 of the same shape, rounded, clipped to 0..255.
    """
    # One mean for the clip: a mean a frame would make still things flicker. A sixteenth of the
    # pixels of 16 frames or more gives it within a level, at a fraction of the time.
    stride = max((rgb.shape[0] or 0) // 16, 1)
    mean = tf.reduce_mean(tf.cast(rgb[::stride, ::4, ::4], tf.float32), axis=[0, 1, 2])
    return to_levels(tf.cast(rgb, tf.float32) * contrast + (mean * (1 - contrast) + brightness))


def processor_compiles() -> bool:
    """Whether XLA compiles for the processor that `tf.data` runs on; call it eagerly.

    TensorFlow for TPUs compiles for the TPU only, and builds without XLA not at all.
    """
    tiny = tf.zeros([1, 1, 1, 3], tf.uint8)
    try:
        with tf.device("CPU:0"):  # of the machine that builds the dataset, or that it is built for
            _compiled_change(tiny, tf.constant(1.0), tf.constant(1.0), mirror=False)
    except tf.errors.OpError:
        return False
    return True


def _mirror_and_color(rgb: tf.Tensor, view: ClipView, *, compiled: bool) -> tf.Tensor:
    change = _compiled_change if compiled else _change
    colors = (view.brightness, view.contrast)
    unchanged = ~view.mirror & (view.brightness == 0.0) & (view.contrast == 1.0)
    # Mirroring takes as long as the rest: a branch outside of what is compiled spares it.
    return tf.cond(
        unchanged,
        lambda: rgb,
        lambda: tf.cond(
            view.mirror,
            lambda: change(rgb, *colors, mirror=True),
            lambda: change(rgb, *colors, mirror=False),
        ),
    )


def _change(
    rgb: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, *, mirror: bool
) -> tf.Tensor:
    colored = adjust_colors(rgb, brightness, contrast)
    return tf.reverse(colored, [2]) if mirror else colored


# One pass over the frames. TensorFlow's operations one by one make eight, each into memory that
# is fresh from the system, and take longer than decoding the JPEGs.
_compiled_change = tf.function(_change, jit_compile=True, autograph=False)


def _place(position: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """`position` in [0, 1] as a whole number of 0..last; 0.5 is the middle; 0 if last < 0."""
    last = tf.maximum(last, 0)
    # Each number owns an equal share of [0, 1); the middle falls to the lower of two.
    place = tf.math.ceil(position * tf.cast(last + 1, tf.float32)) - 1.0
    return tf.clip_by_value(tf.cast(place, tf.int32), 0, last)


def _placed(stored: tf.Tensor, clip: ClipConfig, view: ClipView) -> tuple[tf.Tensor, tf.Tensor]:
    """Size of the resized frame, and the crop's corner in it: int32 [2] each, vertical first."""
    resized = _resized_size(stored, clip)
    corner = [
        _place(view.top, resized[0] - clip.height),
        _place(view.left, resized[1] - clip.width),
    ]
    return resized, tf.stack(corner)


def _resized_size(stored: tf.Tensor, clip: ClipConfig) -> tf.Tensor:
    """Height and width of the resized frame, int32 [2], from those of the stored one."""
    sides = tf.cast(stored, tf.float32)
    crop_size = tf.constant([clip.height, clip.width])
    factor = tf.maximum(
        float(clip.resized_short_side) / tf.reduce_min(sides),
        tf.reduce_max(tf.cast(crop_size, tf.float32) / sides),
    )
    # Rounding may lose a pixel that the crop needs.
    return tf.maximum(tf.cast(tf.round(sides * factor), tf.int32), crop_size)
