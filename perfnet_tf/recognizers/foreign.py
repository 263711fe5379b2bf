"""SavedModels of other packages, whatever their interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.recognizers.recognizer import Recognizer, UnspecifiedError


def load_foreign(
    handle: str, *, stream: str | None = None, classes: tuple[str, ...] | None = None
) -> Recognizer:
    """A network from a SavedModel of another package: a folder, or a TF Hub or Kaggle handle.

    It is called with float32 frames in [0, 1], or flow in pixels per frame, `[batch, frames,
    height, width, channels]`; it is an object to call or a signature, and returns logits `[batch,
    classes]`, or a dict that holds them as `logits` or alone.

    Raises:
        InputError: there is no SavedModel, it cannot be called, or stream or classes are missing.
    """
    import tensorflow_hub as hub  # costs a second, and only this needs it

    try:
        module = hub.load(handle)
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"No run and no SavedModel at {handle}: {first_line(error)}") from error
    if stream is None or classes is None:
        raise UnspecifiedError(
            f"{handle} is a SavedModel, but not one of perfnet export: it does not say what it "
            "sees and predicts.",
            "Give `stream` and `classes`.",
        )
    call = _callable_of(module, handle)

    def predict(inputs: tf.Tensor) -> tf.Tensor:
        if inputs.dtype == tf.uint8:
            inputs = tf.cast(inputs, tf.float32) / 255.0
        outputs = call(tf.cast(inputs, tf.float32))
        if isinstance(outputs, Mapping):
            alone = len(outputs) == 1
            outputs = next(iter(outputs.values())) if alone else outputs.get("logits")
        shape = getattr(outputs, "shape", None)
        if shape is None or shape.rank not in (None, 2) or shape[-1] not in (None, len(classes)):
            raise InputError(
                f"A network gives logits [batch, {len(classes)}], one for each name of its label "
                f"map. Received from {handle}: {shape if shape is not None else 'no logits'}."
            )
        return tf.cast(outputs, tf.float32)

    return Recognizer(predict, stream, classes, source=handle)


def _callable_of(module: Any, handle: str) -> Callable[[tf.Tensor], Any]:
    """What to call with one tensor."""
    if callable(module):
        function = module.__call__
        traced = [trace.structured_input_signature for trace in function.concrete_functions]
        # Model Garden's video networks take {"image": clip}.
        keys = {tuple(plain[0]) for plain, _ in traced if plain and isinstance(plain[0], Mapping)}
        key = next((names[0] for names in sorted(keys) if len(names) == 1), None)
        wrap = (lambda inputs: {key: inputs}) if key else (lambda inputs: inputs)
        if any("training" in named or bool in map(type, plain) for plain, named in traced):
            return lambda inputs: module(wrap(inputs), training=False)
        return lambda inputs: module(wrap(inputs))
    signatures = getattr(module, "signatures", {})
    for name in ("serving_default", "default"):
        if name in signatures:
            signature = signatures[name]
            argument = next(iter(signature.structured_input_signature[1]))
            return lambda inputs: signature(**{argument: inputs})
    raise InputError(
        f"{handle} is a SavedModel that can neither be called nor has a signature serving_default."
    )
