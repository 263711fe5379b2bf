"""TFLite inputs of other sizes, which a file of ours refuses."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

#: What a file's own `[clips, frames, height, width, channels]` is multiplied by.
SCALES = (
    *((1, 2, 1, 1, 1), (1, 1 / 2, 1, 1, 1), (2, 1, 1, 1, 1), (1, 1, 2, 1, 1), (1, 1, 1, 2, 1)),
    *((1, 1, 2, 1 / 2, 1), (1, 1 / 3, 1, 3, 1), (3, 1 / 3, 1, 1, 1)),  # as many values
)


def assert_refused(path: str | os.PathLike[str], scales: tuple[float, ...]) -> None:
    """The file's interpreter fails where its one input is resized."""
    interpreter = tf.lite.Interpreter(os.fspath(path))
    (details,) = interpreter.get_input_details()
    shape = np.round(details["shape"] * scales).astype(int)
    interpreter.resize_tensor_input(details["index"], shape)
    with pytest.raises(RuntimeError, match="RESHAPE|reshape|resize"):
        interpreter.allocate_tensors()
