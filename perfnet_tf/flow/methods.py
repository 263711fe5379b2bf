"""The optical flow methods that `perfnet prepare` can choose from, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perfnet_tf.registry import Registry

#: uint8 RGB `[frames, height, width, 3]` -> float32 `[frames, height, width, 2]`: (dx, dy) in
#: pixels to the next frame.
FlowMethod = Callable[[np.ndarray], np.ndarray]


def _tvl1(frames: np.ndarray) -> np.ndarray:
    from perfnet_tf.flow.tvl1 import compute_tvl1

    return compute_tvl1(frames)


def _tvl1_fast(frames: np.ndarray) -> np.ndarray:
    from perfnet_tf.flow.tvl1 import TVL1Params, compute_tvl1

    return compute_tvl1(frames, params=TVL1Params.fast())


def _dis(frames: np.ndarray) -> np.ndarray:
    from perfnet_tf.flow.dis import compute_dis

    return compute_dis(frames)


#: Each imports its method when it is first called: TV-L1 needs TensorFlow and XLA.
FLOW_METHODS: Registry[FlowMethod] = Registry(
    "flow method", {"tvl1": _tvl1, "tvl1_fast": _tvl1_fast, "dis": _dis}
)


def register_flow(name: str, method: FlowMethod) -> None:
    """Adds an optical flow method, for `flow=name` of `perfnet_tf.prepare`.

    Args:
        name: lower-case identifier.
        method: uint8 RGB `[frames, height, width, 3]` to float32 `[frames, height, width, 2]`, the
            displacement (dx, dy) in pixels to the next frame; the last one is not used.

    Raises:
        InputError: the name is taken, or not an identifier.
    """
    FLOW_METHODS.register(name, method)
