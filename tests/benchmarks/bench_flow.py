"""TV-L1 flow against OpenCV's: accuracy by family of motion, photometric error, and speed.

    python tests/benchmarks/bench_flow.py --contrib_python=PATH --videos=DIR

`--contrib_python` is the interpreter of an environment of its own with opencv-contrib-python
(`python -m venv /tmp/contrib && /tmp/contrib/bin/pip install opencv-contrib-python-headless`): it
must not be installed beside the OpenCV that perfnet_tf uses. `--videos` is searched for *.avi.

Speed is processor time of one thread, which other work on the machine disturbs least, for pairs
alternating between videos; compilation is not counted. EPE is the mean end-point error in pixels
over pixels whose content stays in the frame.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np
import tensorflow as tf

from perfnet_tf.flow.dis import compute_dis
from perfnet_tf.flow.tvl1 import TVL1Params, compute_tvl1

MARGIN = 20  # cut from the source frames, so that what moves in was filmed, not invented
OPENCV = """
import sys, time, cv2, numpy as np
cv2.setNumThreads(1)
pairs = np.load(sys.argv[1])
estimator = cv2.optflow.DualTVL1OpticalFlow_create()
flows, seconds = [], []
for first, second in pairs:
    start = time.process_time()
    flows.append(estimator.calc(first, second, None))
    seconds.append(time.process_time() - start)
np.savez(sys.argv[2], flows=np.array(flows), seconds=np.array(seconds))
"""


def read_pairs(folder: pathlib.Path, count: int) -> np.ndarray:
    """Grey neighbouring frames from the middle of `count` videos, uint8 [count, 2, 240, 320]."""
    videos = sorted(folder.rglob("*.avi"))
    pairs = []
    for index in np.linspace(0, len(videos) - 1, count).astype(int):
        capture = cv2.VideoCapture(str(videos[index]))
        frames = []
        while (read := capture.read())[0]:
            frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
        middle = len(frames) // 2
        pairs.append([cv2.resize(frame, (320, 240)) for frame in frames[middle : middle + 2]])
    return np.array(pairs)


def motions(height: int, width: int) -> list[tuple[str, np.ndarray]]:
    """(family, flow [height, width, 2]) from half a pixel to twelve."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - height / 2, x - width / 2
    found = []
    for length, angle in ((0.5, 20), (1.3, 200), (3, 80), (6, 320), (12, 140)):
        angle = np.deg2rad(angle)
        shift = np.broadcast_to([length * np.cos(angle), length * np.sin(angle)], (*x.shape, 2))
        found.append(("translation", shift))
    for degrees in (0.5, -1.5, 3, 5):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        found.append(("rotation", np.stack([c * x - s * y - x, s * x + c * y - y], -1)))
    for zoom in (0.01, -0.03, 0.06):
        found.append(("zoom", np.stack([zoom * x, zoom * y], -1)))
    for length, sigma in ((1, 20), (3, 30), (6, 40)):
        bump = length * np.exp(-(x**2 + y**2) / (2 * sigma**2))
        found.append(("bumps", np.stack([bump, -0.5 * bump], -1)))
    shift = np.broadcast_to([1.7, -1.1], (*x.shape, 2))
    return [*found, ("noise", shift), ("illumination", shift)]


def synthetic_pairs(frames: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Families, pairs uint8 [n, 2, h, w] and true flows [n, h, w, 2] for each frame and motion."""
    random = np.random.default_rng(0)
    families, pairs, flows = [], [], []
    cut = slice(MARGIN, -MARGIN)
    for frame in frames:
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
        for family, flow in motions(*frame.shape):
            flow = flow.astype(np.float32)
            first = cv2.remap(frame, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)
            second = frame.astype(np.float32)
            if family == "illumination":
                second = second * 1.05 + 4
            if family == "noise":
                first = first + random.normal(0, 4, first.shape)
                second = second + random.normal(0, 4, second.shape)
            pair = np.clip(np.rint([first[cut, cut], second[cut, cut]]), 0, 255)
            families.append(family)
            pairs.append(pair.astype(np.uint8))
            flows.append(flow[cut, cut])
    return families, np.array(pairs), np.array(flows)


def by_opencv(python: str, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        given, found = os.path.join(folder, "pairs.npy"), os.path.join(folder, "flows.npz")
        np.save(given, pairs)
        subprocess.run([python, "-c", OPENCV, given, found], check=True)
        with np.load(found) as result:
            return result["flows"], result["seconds"]


def by_ours(compute, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    compute(pairs[0])  # compiles
    flows, seconds = [], []
    for pair in pairs:
        start = time.process_time()
        flows.append(compute(pair)[0])
        seconds.append(time.process_time() - start)
    return np.array(flows), np.array(seconds)


def warped_to(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each pixel goes, x and y, and whether it stays in the frame."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    return x, y, (x >= 0) & (y >= 0) & (x <= flow.shape[1] - 1) & (y <= flow.shape[0] - 1)


def photometric_error(pair: np.ndarray, flow: np.ndarray) -> float:
    first, second = pair.astype(np.float32)
    x, y, stays = warped_to(flow)
    return float(np.abs(cv2.remap(second, x, y, cv2.INTER_CUBIC) - first)[stays].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contrib_python", required=True)
    parser.add_argument("--videos", required=True, type=pathlib.Path)
    parser.add_argument("--num_frames", type=int, default=3, help="frames that are warped")
    parser.add_argument("--num_pairs", type=int, default=50, help="real pairs")
    parser.add_argument("--num_timed", type=int, default=8, help="pairs timed at each size")
    parser.add_argument("--sizes", default="128x171,224x224,256x340", help="sizes timed")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    ours = {
        "accurate": lambda pair: compute_tvl1(pair, TVL1Params.accurate()),
        "fast": lambda pair: compute_tvl1(pair, TVL1Params.fast()),
        "dis": compute_dis,
    }
    real = read_pairs(arguments.videos, arguments.num_pairs)
    chosen = np.linspace(0, len(real) - 1, arguments.num_frames).astype(int)
    families, synthetic, truth = synthetic_pairs(real[chosen, 0])
    stays = np.array([warped_to(flow)[2] for flow in truth])
    # The same size as the synthetic pairs: one compilation.
    pairs = np.concatenate([synthetic, real[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]])
    flows = {"opencv": by_opencv(arguments.contrib_python, pairs)[0]}
    flows |= {name: by_ours(compute, pairs)[0] for name, compute in ours.items()}

    print(f"{'EPE, px':14}" + "".join(f"{name:>10}" for name in flows), flush=True)
    for family in [*dict.fromkeys(families), "all"]:
        rows = [i for i, name in enumerate(families) if family in (name, "all")]
        print(f"{family:10}{len(rows):4}", end="")
        for found in flows.values():
            error = np.linalg.norm(found[rows] - truth[rows], axis=-1)
            print(f"{error[stays[rows]].mean():10.4f}", end="")
        print()
    print(f"photometric{len(real):3}", end="")
    for found in flows.values():
        errors = [
            photometric_error(*case)
            for case in zip(pairs[len(synthetic) :], found[len(synthetic) :], strict=True)
        ]
        print(f"{np.mean(errors):10.4f}", end="")
    print(f"\n\n{'ms a pair':14}" + "".join(f"{name:>10}" for name in flows), flush=True)
    for size in arguments.sizes.split(","):
        height, width = map(int, size.split("x"))
        timed = np.array(
            [
                [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in pair]
                for pair in real[: arguments.num_timed]
            ]
        )
        seconds = [by_opencv(arguments.contrib_python, timed)[1]]
        seconds += [by_ours(compute, timed)[1] for compute in ours.values()]
        milliseconds = [f"{1e3 * np.median(values):10.1f}" for values in seconds]
        print(f"{size:14}" + "".join(milliseconds), flush=True)


if __name__ == "__main__":
    main()
