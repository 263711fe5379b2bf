"""The drawings that PERF-Net Table 2 compares, by name."""

from __future__ import annotations

from perfnet_tf.config import PoseRenderConfig

#: In the table's order; the paper's top-1 of R3D50-G on Kinetics-600 beside each. A name is
#: background, marker, number of colours, and whether the thickness follows the person (`ratio`).
POSE_VARIANTS: dict[str, PoseRenderConfig] = {
    "rgb_bar_6": PoseRenderConfig("bar", 6, ratio_aware=False, background="rgb"),  # 77.8
    "rgb_bar_6_ratio": PoseRenderConfig("bar", 6, ratio_aware=True, background="rgb"),  # 78.1
    "rgb_bar_13": PoseRenderConfig("bar", 13, ratio_aware=False, background="rgb"),  # 77.9
    "black_dot_13_ratio": PoseRenderConfig("dot", 13, ratio_aware=True, background="black"),  # 33.7
    "black_bar_13_ratio": PoseRenderConfig("bar", 13, ratio_aware=True, background="black"),  # 34.0
    "rgb_dot_13_ratio": PoseRenderConfig("dot", 13, ratio_aware=True, background="rgb"),  # 78.0
    "rgb_bar_13_ratio": PoseRenderConfig("bar", 13, ratio_aware=True, background="rgb"),  # 79.3
}
