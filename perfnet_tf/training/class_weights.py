"""Weights that let uneven classes count the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def balanced_weights(clips_per_class: Mapping[str, int], classes: Sequence[str]) -> list[float]:
    """A weight per class, in label order, whose mean over the clips is 1.

    Args:
        clips_per_class: class name -> number of training clips.
        classes: class names in label order.

    Returns:
        clips / (classes with clips * clips of the class), and 1 for a class without clips.
    """
    counts = [clips_per_class.get(name, 0) for name in classes]
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 1.0 for count in counts]
