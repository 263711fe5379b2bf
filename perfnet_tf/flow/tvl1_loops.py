"""The loops of TV-L1 over pixels, compiled by Numba for one core.

All are in one file, because Numba's cache on disk notices a change of the file that holds the
compiled function, not of other files that it calls into.

The variables of a pyramid level are one float32 array `[height, NUM_PLANES, columns]`: every row
has its planes side by side, so that a sweep over the rows reads memory in order. `MARGIN` columns
left of the image and at least as many right of it stay zero, which spares the sweeps a special
first and last column, and the number of columns swept is a multiple of `_LANES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types, uint64
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

#: Columns of zeros left of the image.
MARGIN = 8
_LANES = 8

#: Planes of a row: the flow; its duals (of dx along x and y, of dy along x and y); the warped
#: frame's gradient, 1 / |gradient|^2, and the brightness residual without the flow.
U1, U2, P11, P12, P21, P22, GRAD_X, GRAD_Y, INVERSE, OFFSET = range(10)
NUM_PLANES = 10

# Channels of a pixel that is warped: brightness and its gradient along x and y, and one unused.
_CHANNELS = 4

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
# OpenCV's bicubic parameter, and its multiples: computed by whole numbers they would be float64.
_A = np.float32(-0.75)
_4A, _5A, _8A, _A_PLUS_2, _A_PLUS_3 = map(np.float32, (-3, -3.75, -6, 1.25, 2.25))
_MIN_SQUARE = np.float32(1.1920929e-07)  # OpenCV's least squared gradient
_LARGEST = np.float32(np.finfo(np.float32).max)

# NaN and infinity stay what they are (no `nnan`, no `ninf`): frames of any finite brightness give
# finite flow.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
}
_inline = njit(forceinline=True, **_OPTIONS)


class _NoAliasCompiler(CompilerBase):
    """Tells LLVM that the array arguments of a function do not overlap where it writes.

    A sweep has 12 of them. Without this LLVM computes one pixel at a time, or, if it is allowed to,
    compares their addresses for every row: a third of the time at 140 columns.
    """

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


_row_loop = njit(forceinline=True, pipeline_class=_NoAliasCompiler, **_OPTIONS)


def _compiled(function: Callable[..., Any]) -> Any:
    """Compiles on the first call, and keeps the machine code on disk where that is possible."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return njit(**_OPTIONS)(function)


def num_columns(width: int) -> int:
    """Columns of the variables of a level whose image is `width` wide."""
    return -(-width // _LANES) * _LANES + 2 * MARGIN


@_compiled
def resize(image, resized, y_step, x_step, scale):
    """Writes `image` at the size of `resized`, times `scale`: linear, edges repeated.

    Args:
        image: float32 `[h, w]`.
        resized: float32 `[height, width]`, written.
        y_step, x_step: distance of neighbouring samples in pixels of `image`.
        scale: float32 factor of the values.
    """
    h, w = image.shape
    height, width = resized.shape
    line = np.empty(w, np.float32)
    lefts, rights = np.empty(width, np.int64), np.empty(width, np.int64)
    shares = np.empty(width, np.float32)
    for x in range(width):
        lefts[x], rights[x], shares[x] = _neighbours(x, x_step, w)
    for y in range(height):
        low, high, share = _neighbours(y, y_step, h)
        upper, lower = image[low], image[high]
        for x in range(w):
            line[x] = upper[x] * (_ONE - share) + lower[x] * share
        for x in range(width):
            value = line[lefts[x]] * (_ONE - shares[x]) + line[rights[x]] * shares[x]
            resized[y, x] = value * scale


@_inline
def _neighbours(place, step, size):
    """The samples on both sides of where a sample lands, and the second one's share."""
    position = (place + 0.5) * step - 0.5
    low = np.floor(position)
    share = np.float32(position - low)
    return min(max(int(low), 0), size - 1), min(max(int(low) + 1, 0), size - 1), share


@_compiled
def solve_level(
    state,
    source,
    target,
    tau,
    lambda_,
    theta,
    epsilon,
    warps,
    outer_iterations,
    inner_iterations,
    median_filtering,
):
    """Solves for the flow of one pyramid level, which `state` holds before and after.

    Args:
        state: float32 `[height, NUM_PLANES, num_columns(width)]`, zero but for `U1` and `U2`.
        source, target: float32 `[height, width]`, grey 0..255, contiguous.
        tau, lambda_, theta, epsilon, warps, outer_iterations, inner_iterations, median_filtering:
            as of `TVL1Params`; the first four as float32.
    """
    height, width = source.shape
    pixels = _with_gradient(target)
    taps = np.empty(width, np.int32)
    weights = np.empty((8, width), np.float32)
    warped = np.empty((width, _CHANNELS), np.float32)
    columns = state.shape[2]
    zeros = np.zeros((NUM_PLANES, columns), np.float32)
    inner = np.zeros(columns, np.float32)  # 1 where the pixel to the right is in the image
    inner[MARGIN : MARGIN + width - 1] = 1
    ranks = np.zeros((5, columns), np.float32)
    kept = np.zeros((3, columns), np.float32)
    threshold, limit, step = epsilon * epsilon, lambda_ * theta, tau / theta
    num_counted = np.float32(width * ((height + 3) // 4))
    for _ in range(warps):
        _linearise(state, source, pixels, taps, weights, warped)
        change = _LARGEST
        for _ in range(outer_iterations):
            if change <= threshold:
                break
            if median_filtering > 1:
                for plane in range(U1, U2 + 1):
                    _filter(state, plane, ranks, kept, width)
            for _ in range(inner_iterations):
                if change <= threshold:
                    break
                change = _sweep(state, zeros, inner, theta, limit, step) / num_counted


@_inline
def _sweep(state, zeros, inner, theta, limit, step):
    """One iteration in one pass over memory: the dual follows the flow by a row.

    Returns the sum of the flow's squared change in every fourth row, which tells as much as all.
    """
    height = state.shape[0]
    total = _ZERO
    for y in range(height + 1):
        if y < height:
            row, above = state[y], state[y - 1] if y > 0 else zeros
            change = _flow_row(
                row[U1], row[U2], row[P11], row[P12], row[P21], row[P22],
                above[P12], above[P22], row[GRAD_X], row[GRAD_Y], row[INVERSE], row[OFFSET],
                theta, limit,
            )  # fmt: skip
            if y % 4 == 0:
                total += change
        if y > 0:
            # Below the last row is the last row: its difference is zero.
            row, below = state[y - 1], state[min(y, height - 1)]
            _dual_row(
                row[U1], row[U2], row[P11], row[P12], row[P21], row[P22],
                below[U1], below[U2], inner, step,
            )  # fmt: skip
    return total


@_row_loop
def _flow_row(
    u1, u2, p11, p12, p21, p22, p12_above, p22_above, grad_x, grad_y, inverse, offset, theta, limit
):
    """Thresholding (Zach et al. 2007, Eq. 15), then the dual's divergence."""
    total = _ZERO
    for column in range(_swept(u1)):
        x = column + uint64(MARGIN)
        left = x - uint64(1)
        error = offset[x] + grad_x[x] * u1[x] + grad_y[x] * u2[x]
        # Along the gradient by the residual, but no further than `limit`.
        shift = min(max(-error * inverse[x], -limit), limit)
        change1 = shift * grad_x[x] + theta * (p11[x] - p11[left] + p12[x] - p12_above[x])
        change2 = shift * grad_y[x] + theta * (p21[x] - p21[left] + p22[x] - p22_above[x])
        u1[x] += change1
        u2[x] += change2
        total += change1 * change1 + change2 * change2
    return total


@_row_loop
def _dual_row(u1, u2, p11, p12, p21, p22, u1_below, u2_below, inner, step):
    """Along the flow's forward differences, and back into the unit disc."""
    for column in range(_swept(u1)):
        x = column + uint64(MARGIN)
        right = x + uint64(1)
        along_x, along_y = (u1[right] - u1[x]) * inner[x], u1_below[x] - u1[x]
        scale = _ONE / (_ONE + step * np.sqrt(along_x * along_x + along_y * along_y))
        p11[x] = (p11[x] + step * along_x) * scale
        p12[x] = (p12[x] + step * along_y) * scale
        along_x, along_y = (u2[right] - u2[x]) * inner[x], u2_below[x] - u2[x]
        scale = _ONE / (_ONE + step * np.sqrt(along_x * along_x + along_y * along_y))
        p21[x] = (p21[x] + step * along_x) * scale
        p22[x] = (p22[x] + step * along_y) * scale


@_inline
def _swept(row):
    """Columns of a row without its margins: a multiple of `_LANES`, as LLVM sees by the mask.

    Unsigned, as all indices of the loops: Python's rule for negative ones would prevent vectors.
    """
    return (uint64(row.shape[0]) - uint64(2 * MARGIN)) & ~uint64(_LANES - 1)


@_inline
def _with_gradient(image):
    """Brightness and its centred gradient, `[height + 3, width + 3, _CHANNELS]`.

    Edges repeat: a row and a column before the image and two after it hold every bicubic tap.
    """
    height, width = image.shape
    pixels = np.zeros((height + 3, width + 3, _CHANNELS), np.float32)
    for row in range(height + 3):
        y = min(max(row - 1, 0), height - 1)
        above, below = image[max(y - 1, 0)], image[min(y + 1, height - 1)]
        line = image[y]
        for column in range(width + 3):
            x = min(max(column - 1, 0), width - 1)
            pixels[row, column, 0] = line[x]
            pixels[row, column, 1] = _HALF * (line[min(x + 1, width - 1)] - line[max(x - 1, 0)])
            pixels[row, column, 2] = _HALF * (below[x] - above[x])
    return pixels


@_inline
def _linearise(state, source, pixels, taps, weights, warped):
    """The brightness residual around the flow: `offset + gradient . flow`."""
    height, width = source.shape
    x0, x1, x2, x3 = weights[0], weights[1], weights[2], weights[3]
    y0, y1, y2, y3 = weights[4], weights[5], weights[6], weights[7]
    for y in range(height):
        row = state[y]
        u1, u2 = row[U1][MARGIN:], row[U2][MARGIN:]
        stride = np.int32(pixels.shape[1])
        _find_taps(u1, u2, y, height, stride, taps, x0, x1, x2, x3, y0, y1, y2, y3)
        for x in range(uint64(width)):
            _sample(  # type: ignore[call-arg]
                pixels, taps[x], stride, x0[x], x1[x], x2[x], x3[x], y0[x], y1[x], y2[x], y3[x],
                warped, x,
            )  # fmt: skip
        _take_residual(
            u1, u2, y, height, warped, source[y],
            row[GRAD_X][MARGIN:], row[GRAD_Y][MARGIN:], row[INVERSE][MARGIN:], row[OFFSET][MARGIN:],
        )  # fmt: skip


@_row_loop
def _find_taps(u1, u2, y, height, stride, taps, x0, x1, x2, x3, y0, y1, y2, y3):
    """Where a row's pixels went: the first of the 16 taps of each, and their weights."""
    last_x, last_y = np.float32(taps.shape[0] - 1), np.float32(height - 1)
    for x in range(uint64(taps.shape[0])):
        at_x = _within(np.float32(np.int32(x)) + u1[x], last_x)
        at_y = _within(np.float32(y) + u2[x], last_y)
        left, top = np.floor(at_x), np.floor(at_y)
        taps[x] = np.int32(top) * stride + np.int32(left)
        x0[x], x1[x], x2[x], x3[x] = _cubic_weights(at_x - left)
        y0[x], y1[x], y2[x], y3[x] = _cubic_weights(at_y - top)


@_inline
def _within(position, last):
    """In [0, last]; 0 for NaN, which must not become an address: absurd brightness makes it."""
    position = position if position > _ZERO else _ZERO
    return position if position < last else last


@_row_loop
def _take_residual(u1, u2, y, height, warped, source, grad_x, grad_y, inverse, offset):
    last_x, last_y = np.float32(source.shape[0] - 1), np.float32(height - 1)
    for x in range(uint64(source.shape[0])):
        at_x, at_y = np.float32(np.int32(x)) + u1[x], np.float32(y) + u2[x]
        # Where the flow leaves the frame nothing is known: without a gradient only smoothness acts.
        inside = at_x >= _ZERO and at_x <= last_x and at_y >= _ZERO and at_y <= last_y
        along_x = warped[x, 1] if inside else _ZERO
        along_y = warped[x, 2] if inside else _ZERO
        square = along_x * along_x + along_y * along_y
        grad_x[x], grad_y[x] = along_x, along_y
        inverse[x] = _ONE / square if square > _MIN_SQUARE else _ZERO
        offset[x] = warped[x, 0] - along_x * u1[x] - along_y * u2[x] - source[x]


@_inline
def _cubic_weights(share):
    """Of the four taps at -1, 0, 1 and 2 for a sample at `share` in [0, 1)."""
    away, rest = share + _ONE, _ONE - share
    outer = ((_A * away - _5A) * away + _8A) * away - _4A
    inner = (_A_PLUS_2 * share - _A_PLUS_3) * share * share + _ONE
    inner_right = (_A_PLUS_2 * rest - _A_PLUS_3) * rest * rest + _ONE
    return outer, inner, inner_right, _ONE - outer - inner - inner_right


@intrinsic
def _sample(typing, pixels, first, stride, x0, x1, x2, x3, y0, y1, y2, y3, warped, index):
    """`warped[index]` = the bicubic sample of all channels, whose first tap is pixel `first`.

    Written as vectors of two neighbouring taps, because LLVM does not find them: four times as fast
    as a loop over channels and taps.
    """
    signature = types.void(
        pixels, types.int32, types.int32, *[types.float32] * 8, warped, types.uint64
    )
    pair = ir.VectorType(ir.FloatType(), 2 * _CHANNELS)
    lane = ir.IntType(32)

    def broadcast(builder: Any, values: list[Any]) -> Any:
        """The first half of the lanes has the first value, the second half the second."""
        vector = ir.Constant(ir.VectorType(ir.FloatType(), 2), ir.Undefined)
        for number, value in enumerate(values):
            vector = builder.insert_element(vector, value, lane(number))
        lanes = [number // _CHANNELS for number in range(2 * _CHANNELS)]
        mask = ir.Constant(ir.VectorType(lane, 2 * _CHANNELS), lanes)
        return builder.shuffle_vector(vector, vector, mask)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixels, first, stride, *weights, warped, index = arguments
        first, stride = (builder.sext(number, index.type) for number in (first, stride))
        source = context.make_array(signature.args[0])(context, builder, pixels).data
        result = context.make_array(signature.args[-2])(context, builder, warped).data
        x_weights = [broadcast(builder, weights[0:2]), broadcast(builder, weights[2:4])]
        y_weights = [broadcast(builder, [weight, weight]) for weight in weights[4:]]
        count = first.type
        total = None
        for row, y_weight in enumerate(y_weights):
            tap = builder.add(first, builder.mul(stride, count(row)))
            line = None
            for column, x_weight in enumerate(x_weights):
                at = builder.mul(builder.add(tap, count(2 * column)), count(_CHANNELS))
                address = cgutils.pointer_add(builder, source, builder.mul(at, count(4)))
                address = builder.bitcast(address, pair.as_pointer())
                product = builder.fmul(builder.load(address, align=4), x_weight, ("contract",))
                line = product if line is None else builder.fadd(line, product, ("contract",))
            product = builder.fmul(line, y_weight, ("contract",))
            total = product if total is None else builder.fadd(total, product, ("contract",))
        halves = [
            builder.shuffle_vector(
                total,
                total,
                ir.Constant(ir.VectorType(lane, _CHANNELS), list(range(start, start + _CHANNELS))),
            )
            for start in (0, _CHANNELS)
        ]
        at = builder.mul(index, count(4 * _CHANNELS))
        address = builder.bitcast(
            cgutils.pointer_add(builder, result, at), halves[0].type.as_pointer()
        )
        builder.store(builder.fadd(*halves), address, align=4)
        return context.get_dummy_value()

    return signature, generate


@_inline
def _filter(state, plane, ranks, kept, width):
    """The median of each pixel's 5x5 neighbourhood, edges repeated, in place."""
    height = state.shape[0]
    after = MARGIN + width
    for y in range(height):
        row = state[y, plane]
        # Rows above are replaced: they are kept as they were.
        kept[y % 3] = row
        _sort_columns(
            kept[max(y - 2, 0) % 3],
            kept[max(y - 1, 0) % 3],
            kept[y % 3],
            state[min(y + 1, height - 1), plane],
            state[min(y + 2, height - 1), plane],
            ranks[0], ranks[1], ranks[2], ranks[3], ranks[4],
        )  # fmt: skip
        for rank in range(5):
            ranks[rank, MARGIN - 2 : MARGIN] = ranks[rank, MARGIN]
            ranks[rank, after : after + 2] = ranks[rank, after - 1]
        _take_medians(ranks[0], ranks[1], ranks[2], ranks[3], ranks[4], row)
        row[after:] = _ZERO


@_row_loop
def _sort_columns(a, b, c, d, e, r0, r1, r2, r3, r4):
    for column in range(_swept(a)):
        x = column + uint64(MARGIN)
        r0[x], r1[x], r2[x], r3[x], r4[x] = _sort_5(a[x], b[x], c[x], d[x], e[x])


@_row_loop
def _take_medians(r0, r1, r2, r3, r4, row):
    for column in range(_swept(row)):
        x = column + uint64(MARGIN)
        row[x] = _median(
            _across(r0, x), _across(r1, x), _across(r2, x), _across(r3, x), _across(r4, x)
        )


@_inline
def _across(rank, x):
    """The five values around `x`, sorted."""
    one, two = uint64(1), uint64(2)
    return _sort_5(rank[x - two], rank[x - one], rank[x], rank[x + one], rank[x + two])


@_inline
def _median(a, b, c, d, e):
    """Of 25 values whose columns were sorted, and then their rows `a` to `e`.

    Element (i, j) has (i + 1)(j + 1) - 1 values at or below it and (5 - i)(5 - j) - 1 at or above:
    six of them are always below the median and six above. Of the other 13, each of the last four is
    at least two of the first four, so the two smallest of the first and the two largest of the last
    go as well. The median of the nine that stay is the median of all.
    """
    low1, low2 = _two_largest(a[3], b[2], c[1], d[0])
    high1, high2 = _two_smallest(b[4], c[3], d[2], e[1])
    lowest, middle, highest = _sort_3(low1, low2, a[4])
    low, mid, high = _sort_3(high1, high2, e[0])
    lowest, highest = max(lowest, low), min(highest, high)
    middle, mid = _exchange(middle, mid)
    low, central, high = _sort_3(b[3], c[2], d[1])
    # The middle of the triples' largest minimum, middle median and smallest maximum.
    central = min(max(middle, central), mid)
    _, central, _ = _sort_3(max(lowest, low), central, min(highest, high))
    return central


@_inline
def _two_largest(a, b, c, d):
    a, b = _exchange(a, b)
    c, d = _exchange(c, d)
    return max(b, d), max(min(b, d), max(a, c))


@_inline
def _two_smallest(a, b, c, d):
    a, b = _exchange(a, b)
    c, d = _exchange(c, d)
    return min(a, c), min(max(a, c), min(b, d))


@_inline
def _sort_3(a, b, c):
    a, b = _exchange(a, b)
    b, c = _exchange(b, c)
    a, b = _exchange(a, b)
    return a, b, c


@_inline
def _sort_5(a, b, c, d, e):
    a, b = _exchange(a, b)
    d, e = _exchange(d, e)
    c, e = _exchange(c, e)
    c, d = _exchange(c, d)
    a, d = _exchange(a, d)
    a, c = _exchange(a, c)
    b, e = _exchange(b, e)
    b, d = _exchange(b, d)
    b, c = _exchange(b, c)
    return a, b, c, d, e


@_inline
def _exchange(low, high):
    return min(low, high), max(low, high)
