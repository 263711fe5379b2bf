"""Recognisers as SavedModels that anyone can load, call and fine-tune without this package.

The exported object follows TensorFlow's reusable SavedModel interface, so `hub.KerasLayer` takes
it as it is:

| member                          | is                                                             |
|---------------------------------|----------------------------------------------------------------|
| `__call__(inputs, training)`    | float32 logits `[batch, classes]`                              |
| `variables`, `trainable_variables` | lists; batch-norm statistics are in the first only          |
| `regularization_losses`         | functions without arguments; their sum is the weight decay     |
| `features(inputs, training)`    | float32 `[batch, channels]`: pooled, before dropout            |
| `endpoints(inputs)`             | dict of every named endpoint, inference mode                   |
| `feature_extractor`             | the same interface over `features`, without the classifier     |
| `labels_file`, `info_file`      | assets: class names one per line; `ModelInfo` as JSON          |
| signature `serving_default`     | `frames` -> `logits`, `probabilities`, `features`              |
| `from_keypoints(frames, keypoints)` | of a pose model: logits; it draws the people itself        |
| signature `from_keypoints`      | of a pose model: both -> what `serving_default` gives          |

An export for inference only has no `variables`, `regularization_losses`, `endpoints` and
`feature_extractor`: its `weights`, with batch norm folded into them, are not trained. A process
holds them once, whatever it calls.

`probabilities` are the softmax of the logits, or their sigmoid where the clips had several labels
(`label_kind` in the `dataset` of `model.json`).

`inputs` is `[batch, frames, height, width, 3]`, RGB, with any number of clips and frames and any
size: float32 in [0, 1] or uint8. A pose model takes RGB with the limbs drawn in; a flow model takes
float32 `[..., 2]` in pixels per frame. `training` is a Python bool. Beside the graph,
`assets.extra/golden.npz` holds a small clip with the logits that the Keras model gave for it.

**Loading any SavedModel runs code from it: load only files you trust.** `restore_model` does not:
it reads numbers only.
"""

from perfnet_tf.recognizers.exported import load_for_inference, load_saved_model, restore_model
from perfnet_tf.recognizers.info import ModelInfo
from perfnet_tf.saved_model.export import export_saved_model

__all__ = [
    "ModelInfo",
    "export_saved_model",
    "load_for_inference",
    "load_saved_model",
    "restore_model",
]
