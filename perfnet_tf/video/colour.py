"""Decoded frames to 8-bit RGB, by the colour matrix, range and transfer of their stream.

- The matrix (BT.601, BT.709, BT.2020, ...) and the range are the stream's. A stream that names no
  matrix counts as BT.601, and as limited range unless its pixel format says otherwise (FFmpeg's
  convention, and that of every reader built on it).
- HDR (PQ, HLG) is tone-mapped to what a viewer sees on an ordinary screen: HDR reference white of
  203 cd/m2 (ITU-R BT.2408) is the screen's white, brighter parts are rolled off by the curve of
  ITU-R BT.2390 from the mastering peak (`HDR_PEAK`), BT.2020 becomes BT.709, and the result is
  encoded for a screen of BT.1886 (a power of 2.4).
"""

from __future__ import annotations

import functools

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter

from perfnet_tf.video.optional_opencv import find_opencv

#: cd/m2. BT.2408's reference white; the peak that HDR is mastered for (HLG's nominal one, and that
#: of nearly all HDR10); PQ's largest.
REFERENCE_WHITE = 203.0
HDR_PEAK = 1000.0
_PQ_PEAK = 10000.0

#: Matrices (AVColorSpace) that FFmpeg's scaler converts: RGB, BT.709, unknown, FCC, BT.601 in two
#: names, SMPTE 240M, BT.2020. A stream that names another counts as one that names none.
_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
_UNKNOWN_MATRIX = 2

#: Linear BT.2020 RGB to linear BT.709 RGB (ITU-R BT.2087).
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
#: Luminance of linear BT.2020 RGB.
_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)


class RgbConverter:
    """Converts the frames of one video."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """RGB `[height, width, 3]` of the frame; uint16 if it `is_hdr`, else uint8.

        What is uint16 still has its HDR transfer: see `tone_map`.
        """
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNKNOWN_MATRIX
        rgb = self._scaler.reformat(
            frame,
            format="rgb48le" if is_hdr(frame) else "rgb24",
            # What OpenCV's reader asks FFmpeg for: the same pixels, to the bit.
            interpolation=Interpolation.BICUBIC,
            threads=1,  # half a millisecond a frame; workers share the cores
        )
        return np.asarray(rgb.to_ndarray())


def is_hdr(frame: VideoFrame) -> bool:
    """Whether the frame's transfer is PQ or HLG."""
    return frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def tone_map(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """HDR to what an ordinary screen shows.

    Args:
        rgb: uint16 `[height, width, 3]`, full range, BT.2020 with the HDR `transfer`.
        transfer: `ColorTrc.SMPTE2084` (PQ) or `ColorTrc.ARIB_STD_B67` (HLG).

    Returns:
        uint8 RGB `[height, width, 3]`.
    """
    to_linear, curve, to_screen = _tables(int(transfer))
    light = to_linear[rgb]  # as a share of HDR_PEAK
    if transfer == ColorTrc.ARIB_STD_B67:
        # From the scene to the screen: HLG's system gamma of 1.2, at 1000 cd/m2 (BT.2100).
        luminance = _mix(light, _LUMINANCE)
        light = light * np.maximum(luminance, 1e-6) ** np.float32(0.2)
    light = np.clip(_mix(light, _TO_BT709), 0, None)
    brightest = np.minimum(light.max(axis=-1), 1.0)
    gain = curve[(brightest * (len(curve) - 1) + 0.5).astype(np.int32)]
    shown = np.minimum(light * gain[..., None], 1.0)
    return np.asarray(to_screen[(shown * (len(to_screen) - 1) + 0.5).astype(np.int32)])


def _mix(light: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Linear combinations of a picture's components: float32 `[height, width, rows of matrix]`."""
    cv2 = find_opencv()
    # NumPy's sums differ in the last bit: a level of 8 bits in one of some ten thousand values.
    mixed = light @ matrix.T if cv2 is None else cv2.transform(light, matrix)
    return np.asarray(mixed).reshape(*light.shape[:-1], len(matrix))


@functools.cache
def _tables(transfer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code -> light, brightest component -> gain, light on the screen -> code."""
    codes = np.linspace(0, 1, 2**16)
    if transfer == ColorTrc.SMPTE2084:
        to_linear = _pq_to_light(codes) / HDR_PEAK
    else:  # BT.2100's inverse OETF
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        to_linear = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    light = np.linspace(0, 1, 2**16)
    with np.errstate(invalid="ignore"):
        gain = _roll_off(light * HDR_PEAK) / (light * REFERENCE_WHITE)
    gain[0] = gain[1]
    to_screen = (255 * light ** (1 / 2.4) + 0.5).astype(np.uint8)
    return to_linear.astype(np.float32), gain.astype(np.float32), to_screen


def _roll_off(light: np.ndarray) -> np.ndarray:
    """BT.2390's EETF from `HDR_PEAK` to `REFERENCE_WHITE`, in cd/m2: unchanged up to a knee."""
    source, target = _light_to_pq(np.array([HDR_PEAK, REFERENCE_WHITE]))
    level = _light_to_pq(light) / source
    top = target / source
    knee = 1.5 * top - 0.5
    t = np.clip((level - knee) / (1 - knee), 0, 1)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * top
    )
    return _pq_to_light(np.where(level < knee, level, bent) * source)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_to_light(code: np.ndarray) -> np.ndarray:
    power = np.asarray(code) ** (1 / _M2)
    return _PQ_PEAK * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _light_to_pq(light: np.ndarray) -> np.ndarray:
    power = (np.asarray(light) / _PQ_PEAK) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
