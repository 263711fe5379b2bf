"""The names under which data travels between the stages.

A *batch* is a dict with the keys below. Streams are what a network sees; keypoints and boxes are
what the pose stream is drawn from (`perfnet_tf.pose.rendering`), on the device that trains.

| key         | dtype    | shape                             | meaning                      |
|-------------|----------|-----------------------------------|------------------------------|
| `rgb`       | uint8    | `[batch, frames, height, width, 3]` | 0..255                     |
| `flow`      | float32  | `[batch, frames, height, width, 2]` | (dx, dy), pixels per frame |
| `pose`      | uint8    | `[batch, frames, height, width, 3]` | RGB with limbs drawn       |
| `keypoints` | float32  | `[batch, frames, people, 17, 3]`  | (x, y) of the crop, score    |
| `boxes`     | float32  | `[batch, frames, people, 4]`      | (x_min, y_min, x_max, y_max) |
| `label`     | int32    | `[batch]`                         | class index                  |
| `clip_id`   | string   | `[batch]`                         | evaluation only              |

Points are fractions of the crop, in [0, 1] where visible; an absent keypoint or person has score 0.
"""

from __future__ import annotations

RGB = "rgb"
FLOW = "flow"
POSE = "pose"
STREAMS = (RGB, FLOW, POSE)
#: How people read them.
STREAM_TITLES = {RGB: "RGB", FLOW: "flow", POSE: "pose"}

#: Channels of each stream, as the network sees it.
STREAM_CHANNELS = {RGB: 3, FLOW: 2, POSE: 3}

KEYPOINTS = "keypoints"
BOXES = "boxes"
LABEL = "label"
CLIP_ID = "clip_id"

#: What the records must hold for each stream to be fed.
STREAM_SOURCES = {RGB: (RGB,), FLOW: (FLOW,), POSE: (RGB, KEYPOINTS, BOXES)}

#: Key of the class scores among a model's endpoints, and in a SavedModel's outputs.
LOGITS = "logits"
#: Key of the pooled feature vector, `[batch, channels]`.
FEATURES = "features"
