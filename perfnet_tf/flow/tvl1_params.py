"""The parameters of TV-L1 flow; no TensorFlow needed."""

from __future__ import annotations

from dataclasses import dataclass

from perfnet_tf.errors import InputError

# OpenCV stops the pyramid here too.
_MIN_SIDE = 16


@dataclass(frozen=True)
class TVL1Params:
    """Parameters of OpenCV's `DualTVL1OpticalFlow`, with its names, meanings and defaults.

    Grey levels are 0..255 and flow is in pixels, so values tuned for OpenCV carry over. Its
    `gamma` (brightness change) and `useInitialFlow`, both off by default, are left out.

    Attributes:
        tau: step of the dual ascent; converges up to 0.25.
        lambda_: weight of the data term; smaller is smoother.
        theta: tightness of the coupling between data and smoothness.
        nscales: levels of the pyramid at most; it ends before a side is below 16 pixels.
        warps: linearisations on each level.
        epsilon: iterations stop when the flow's root mean square change is below it, in pixels.
        inner_iterations: iterations between two median filters at most.
        outer_iterations: median filters after each warp at most.
        scale_step: size of a level relative to the next finer one, in (0, 1).
        median_filtering: side of the median filter of the flow: 5, or 1 for none.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    nscales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median_filtering: int = 5

    def __post_init__(self) -> None:
        for name in ("tau", "lambda_", "theta"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"{name} must be greater than 0. Received: {getattr(self, name)!r}."
                )
        for name in ("nscales", "warps", "inner_iterations", "outer_iterations"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(
                    f"{name} must be a whole number of at least 1. Received: {value!r}."
                )
        if not self.epsilon >= 0:
            raise InputError(f"epsilon must be 0 or greater. Received: {self.epsilon!r}.")
        if not 0 < self.scale_step < 1:
            raise InputError(f"scale_step must be in (0, 1). Received: {self.scale_step!r}.")
        if self.median_filtering not in (1, 5):
            raise InputError(
                f"median_filtering must be 5, or 1 for none. Received: {self.median_filtering!r}."
            )

    @classmethod
    def fast(cls) -> TVL1Params:
        """A steeper pyramid and fewer warps: twice as fast, and better at large motion.

        Over the 51 warps of `tests/benchmarks/bench_flow.py` its mean end-point error is 0.29 px
        where the defaults have 0.46, because it finds translations of 12 px; on noisy frames it is
        0.01 px worse. Where the brightness changes neither is of use (2.4 and 2.9 px).
        """
        return cls(scale_step=0.5, nscales=4, warps=3)


def pyramid_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """Height and width of the levels coarser than the frames, the finest of them first."""
    sizes = []
    for _ in range(params.nscales - 1):
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if min(height, width) < _MIN_SIDE:
            break
        sizes.append((height, width))
    return sizes
