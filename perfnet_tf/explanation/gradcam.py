"""Grad-CAM for video networks: where, and when, the evidence for a class is.

Source: Selvaraju et al. 2017 (arXiv:1610.02391), on maps of frames x height x width; PERF-Net
Figures 1 and 5 show it for a layer of R3D50-G's last block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import LOGITS, STREAM_CHANNELS

#: Stands for "the class with the largest logit" where a class index is wanted.
_PREDICTED = -1


@dataclass(frozen=True, eq=False)
class ClassActivation:
    """What `GradCam` finds in a batch of clips.

    Attributes:
        maps: float32 `[batch, frames, height, width]` at the resolution of the clips, in [0, 1]: 1
            is the strongest evidence in the clip; all 0 where nothing speaks for the class.
        classes: int32 `[batch]`: the class that each map explains.
        logits: float32 `[batch, classes]`.
    """

    maps: np.ndarray
    classes: np.ndarray
    logits: np.ndarray


class GradCam:
    """Grad-CAM of a network at one endpoint.

    The gradient of the class's logit, averaged over the frames and pixels of the endpoint, weighs
    its channels; what is positive of their weighted sum is the map. It is as coarse as the
    endpoint, whose stride `res5` and `Mixed_5c` have at 32 pixels, and is interpolated linearly.
    """

    def __init__(self, model: VideoModel, endpoint: str | None = None) -> None:
        """Chooses the endpoint.

        Args:
            model: of `build_model`, with its weights.
            endpoint: a feature map of the network; None takes the last: `res5` of R3D50-G,
                `Mixed_5c` of S3D-G.

        Raises:
            InputError: the network has no such feature map.
        """
        self.model = model
        known = list_endpoints(model)
        if endpoint is not None:
            check_choice("endpoint", endpoint, known)
        self.endpoint = endpoint or known[-1]
        self._explain = tf.function(self._explain_graph, autograph=False, reduce_retracing=True)

    def __call__(self, clips: Any, classes: Any = None) -> ClassActivation:
        """Explains a batch of clips.

        Args:
            clips: `[batch, frames, height, width, channels]`, as the network takes them.
            classes: int `[batch]`, the class to explain of each; None takes the largest logit.

        Raises:
            InputError: another shape, or a class that the network does not have.
        """
        clips = tf.convert_to_tensor(clips)
        if clips.shape.rank != 5:
            raise InputError(
                "clips must have the shape [batch, frames, height, width, channels]. "
                f"Received: {clips.shape}."
            )
        num_clips = clips.shape[0]
        if classes is None:
            classes = np.full(num_clips, _PREDICTED)
        else:
            classes = np.asarray(classes)
            last = self.model.num_classes - 1
            if classes.shape != (num_clips,) or not ((classes >= 0) & (classes <= last)).all():
                raise InputError(
                    f"classes must be one index in 0..{last} for each of {num_clips} clips. "
                    f"Received: {classes.tolist()}."
                )
        maps, chosen, logits = self._explain(clips, tf.constant(classes, tf.int32))
        return ClassActivation(
            _normalize(resize_maps(maps, clips.shape[1:4]).numpy()), chosen.numpy(), logits.numpy()
        )

    def _explain_graph(
        self, clips: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        named = self.model.endpoints(clips, training=False)
        logits = named[LOGITS]  # [batch, classes]
        predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
        chosen = tf.where(classes == _PREDICTED, predicted, classes)
        activation = named[self.endpoint]
        # Of a sum over the batch: a clip's logit depends on its own activations only. Not of a
        # tape, which sees a frozen network as a constant.
        (gradient,) = tf.gradients(tf.gather(logits, chosen, batch_dims=1), activation)
        activation, gradient = (tf.cast(x, tf.float32) for x in (activation, gradient))
        weights = tf.reduce_mean(gradient, axis=[1, 2, 3], keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * activation, axis=-1)), chosen, logits


def list_endpoints(model: VideoModel) -> list[str]:
    """Names of a network's feature maps `[batch, frames, height, width, channels]`, in order."""
    smallest = tf.zeros([1, 8, 32, 32, STREAM_CHANNELS[model.stream]])
    named = model.endpoints(smallest, training=False)
    return [name for name, value in named.items() if value.shape.rank == 5]


def resize_maps(maps: tf.Tensor, size: Any) -> tf.Tensor:
    """Interpolates maps linearly in time and space, pixel centres aligned at half a pixel.

    Args:
        maps: float32 `[batch, frames, height, width]`.
        size: frames, height and width wanted.

    Returns:
        float32 `[batch, *size]`.
    """
    frames, height, width = (int(side) for side in size)
    batch, steps = tf.shape(maps)[0], tf.shape(maps)[1]
    maps = tf.reshape(maps, tf.concat([[batch * steps], tf.shape(maps)[2:], [1]], 0))
    maps = tf.image.resize(maps, [height, width])
    maps = tf.reshape(maps, [batch, steps, height * width, 1])  # time is the picture's height now
    maps = tf.image.resize(maps, [frames, height * width])
    return tf.reshape(maps, [batch, frames, height, width])


def _normalize(maps: np.ndarray) -> np.ndarray:
    """Divides each clip's map by its largest value, if it has one."""
    peak = maps.max(axis=(1, 2, 3), keepdims=True)
    return maps / np.where(peak > 0, peak, 1)
