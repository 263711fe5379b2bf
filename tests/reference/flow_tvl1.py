"""TV-L1 flow as plainly as NumPy can say it: one pair, one pixel rule at a time, float64.

Follows Sanchez, Meinhardt-Llopis and Facciolo, IPOL 2013, with the median filter and the parameters
of OpenCV's DualTVL1OpticalFlow. Slow.
"""

from __future__ import annotations

import numpy as np


def solve(first, second, params):
    """Flow [height, width, 2] of two grey images, 0..255."""
    pyramid = [(first.astype(np.float64), second.astype(np.float64))]
    while len(pyramid) < params.nscales:
        height, width = (round(side * params.scale_step) for side in pyramid[-1][0].shape)
        if min(height, width) < 16:
            break
        step = 1 / params.scale_step
        pyramid.append(tuple(resize(image, height, width, step, step) for image in pyramid[-1]))
    u = np.zeros((2, *pyramid[-1][0].shape))
    for source, target in reversed(pyramid):
        if u.shape[1:] != source.shape:
            y_step, x_step = u.shape[1] / source.shape[0], u.shape[2] / source.shape[1]
            u = np.stack([resize(plane, *source.shape, y_step, x_step) for plane in u])
            u /= params.scale_step
        u = solve_scale(source, target, u, params)
    return np.moveaxis(u, 0, -1)


def solve_scale(source, target, u, params):
    p = np.zeros((2, 2, *source.shape))  # [component, direction, y, x]
    target_x, target_y = centered_gradient(target)
    for _ in range(params.warps):
        warped, inside = warp(target, u)
        grad = np.stack([warp(target_x, u)[0], warp(target_y, u)[0]]) * inside
        offset = warped - (grad * u).sum(0) - source
        error = np.inf
        for _ in range(params.outer_iterations):
            if error <= params.epsilon**2:
                break
            if params.median_filtering == 5:
                u = np.stack([median(plane) for plane in u])
            for _ in range(params.inner_iterations):
                if error <= params.epsilon**2:
                    break
                previous = u
                v = u + threshold(offset + (grad * u).sum(0), grad, params.lambda_ * params.theta)
                u = v + params.theta * np.stack([divergence(*dual) for dual in p])
                error = np.mean(((u - previous) ** 2).sum(0)[::4])  # every fourth row: enough
                for component in range(2):
                    slope = forward_gradient(u[component])
                    step = params.tau / params.theta
                    length = np.hypot(*slope)
                    p[component] = (p[component] + step * slope) / (1 + step * length)
    return u


def threshold(rho, grad, limit):
    """Zach et al. 2007, Eq. 15."""
    square = (grad**2).sum(0)
    shift = np.zeros_like(grad)
    below, above = rho < -limit * square, rho > limit * square
    between = ~below & ~above & (square > np.finfo(np.float32).eps)
    shift += np.where(below, limit * grad, 0)
    shift += np.where(above, -limit * grad, 0)
    shift += np.where(between, -rho * grad / np.where(between, square, 1), 0)
    return shift


def forward_gradient(image):
    grad = np.zeros((2, *image.shape))
    grad[0, :, :-1] = np.diff(image, axis=1)
    grad[1, :-1] = np.diff(image, axis=0)
    return grad


def divergence(px, py):
    return np.diff(px, axis=1, prepend=0) + np.diff(py, axis=0, prepend=0)


def centered_gradient(image):
    padded = np.pad(image, 1, mode="edge")
    return (
        0.5 * (padded[1:-1, 2:] - padded[1:-1, :-2]),
        0.5 * (padded[2:, 1:-1] - padded[:-2, 1:-1]),
    )


def median(image):
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 2, mode="edge"), (5, 5))
    return np.median(windows, axis=(2, 3))


def resize(image, height, width, y_step, x_step):
    """Linear, pixel centres at half-integers, edges repeated."""
    y = np.clip((np.arange(height) + 0.5) * y_step - 0.5, 0, image.shape[0] - 1)
    x = np.clip((np.arange(width) + 0.5) * x_step - 0.5, 0, image.shape[1] - 1)
    columns = np.stack([np.interp(x, np.arange(image.shape[1]), row) for row in image])
    return np.stack(
        [np.interp(y, np.arange(image.shape[0]), column) for column in columns.T], axis=1
    )


def warp(image, u):
    """Bicubic (a = -0.75) samples at x + u, moved to the edge where outside; and where inside."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width] + u[::-1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    warped = np.zeros_like(image)
    for j in range(-1, 3):
        for i in range(-1, 3):
            row, column = np.clip(top + j, 0, height - 1), np.clip(left + i, 0, width - 1)
            weight = cubic(y - (top + j)) * cubic(x - (left + i))
            warped += weight * image[row, column]
    return warped, inside


def cubic(distance, a=-0.75):
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
