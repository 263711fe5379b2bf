"""The drawings of the pose stream that PERF-Net Table 2 compares, by name."""

from __future__ import annotations

from perfnet_tf.config import PoseRenderConfig

#: In the table's order. A name is background, marker, number of colours, and what the thickness
#: follows: the size of the person (`ratio`) or nothing (`uniform`).
POSE_VARIANTS: dict[str, PoseRenderConfig] = {
    "rgb_bar_6_uniform": PoseRenderConfig("bar", 6, ratio_aware=False, background="rgb"),
    "rgb_bar_6_ratio": PoseRenderConfig("bar", 6, ratio_aware=True, background="rgb"),
    "rgb_bar_13_uniform": PoseRenderConfig("bar", 13, ratio_aware=False, background="rgb"),
    "black_dot_13_ratio": PoseRenderConfig("dot", 13, ratio_aware=True, background="black"),
    "black_bar_13_ratio": PoseRenderConfig("bar", 13, ratio_aware=True, background="black"),
    "rgb_dot_13_ratio": PoseRenderConfig("dot", 13, ratio_aware=True, background="rgb"),
    "rgb_bar_13_ratio": PoseRenderConfig("bar", 13, ratio_aware=True, background="rgb"),
}
#: The table's last row, the best on Kinetics: how the pose stream is drawn by default.
BEST_VARIANT = "rgb_bar_13_ratio"
_EARLIER_NAMES = {"rgb_bar_6": "rgb_bar_6_uniform", "rgb_bar_13": "rgb_bar_13_uniform"}


def current_variant_name(name: str) -> str:
    """What the drawing is called that had the name `name` in earlier versions."""
    return _EARLIER_NAMES.get(name, name)
