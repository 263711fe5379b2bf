"""TV-L1 flow against OpenCV's and scikit-image's: accuracy by family of motion, and speed.

    python tests/benchmarks/bench_flow.py --contrib_python=PATH --videos=DIR

`--contrib_python` is the interpreter of an environment of its own with opencv-contrib-python and
scikit-image (`python -m venv /tmp/contrib && /tmp/contrib/bin/pip install
opencv-contrib-python-headless scikit-image`): contrib must not be installed beside the OpenCV that
perfnet_tf uses. `--videos` is searched for *.avi.

EPE is the mean end-point error in pixels over pixels whose content stays in the frame. Speed: the
contenders take turns, a few pairs each, with compilation not counted but told. With one thread time
is processor time, which other work on the machine disturbs least, else it is wall time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import numpy as np
import tensorflow as tf

from perfnet_tf.flow.dis import compute_dis
from perfnet_tf.flow.tvl1 import TVL1Params, compute_tvl1
from perfnet_tf.threads import set_num_threads

MARGIN = 20  # cut from the source frames, so that what moves in was filmed, not invented
PEERS = """
import os, sys, time
name, threads = sys.argv[3], int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
import cv2, numpy as np
cv2.setNumThreads(threads)
pairs = np.load(sys.argv[1])
if name == "opencv":
    estimator = cv2.optflow.DualTVL1OpticalFlow_create()
    compute = lambda first, second: estimator.calc(first, second, None)
else:
    from skimage.registration import optical_flow_tvl1
    compute = lambda *pair: np.stack(optical_flow_tvl1(*pair)[::-1], -1)
clock = time.process_time if threads == 1 else time.perf_counter
flows, seconds = [], []
for first, second in pairs:
    start = clock()
    flows.append(compute(first, second))
    seconds.append(clock() - start)
np.savez(sys.argv[2], flows=np.array(flows, np.float32), seconds=np.array(seconds))
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


def by_peer(
    python: str, pairs: np.ndarray, name: str, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        given, found = os.path.join(folder, "pairs.npy"), os.path.join(folder, "flows.npz")
        np.save(given, pairs)
        command = [python, "-c", PEERS, given, found, name, str(threads)]
        subprocess.run(command, check=True)
        with np.load(found) as result:
            return result["flows"], result["seconds"]


def by_ours(compute, pairs: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    clock = time.process_time if threads == 1 else time.perf_counter
    flows, seconds = [], []
    for pair in pairs:
        start = clock()
        flows.append(compute(pair)[0])
        seconds.append(clock() - start)
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


def compare_accuracy(python: str, ours: dict, real: np.ndarray, num_frames: int) -> None:
    chosen = np.linspace(0, len(real) - 1, num_frames).astype(int)
    families, synthetic, truth = synthetic_pairs(real[chosen, 0])
    stays = np.array([warped_to(flow)[2] for flow in truth])
    # The same size as the synthetic pairs: one compilation.
    pairs = np.concatenate([synthetic, real[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]])
    flows = {"opencv": by_peer(python, pairs, "opencv")[0]}
    flows |= {name: by_ours(compute, pairs)[0] for name, compute in ours.items()}

    print(f"{'EPE, px':14}" + "".join(f"{name:>10}" for name in flows), flush=True)
    for family in [*dict.fromkeys(families), "all"]:
        rows = [i for i, name in enumerate(families) if family in (name, "all")]
        print(f"{family:10}{len(rows):4}", end="")
        for found in flows.values():
            error = np.linalg.norm(found[rows] - truth[rows], axis=-1)
            print(f"{error[stays[rows]].mean():10.4f}", end="")
        print()
    found_real = {name: found[len(synthetic) :] for name, found in flows.items()}
    print(f"photometric{len(real):3}", end="")
    for found in found_real.values():
        errors = [photometric_error(*case) for case in zip(pairs[-len(real) :], found, strict=True)]
        print(f"{np.mean(errors):10.4f}", end="")
    print(f"\nto opencv's{len(real):3}", end="")
    for found in found_real.values():
        print(f"{np.linalg.norm(found - found_real['opencv'], axis=-1).mean():10.4f}", end="")
    print("\n")


def compare_speed(
    python: str, ours: dict, real: np.ndarray, size: str, turns: int, threads: int
) -> None:
    height, width = map(int, size.split("x"))
    pairs = np.array(
        [
            [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in pair]
            for pair in real[np.linspace(0, len(real) - 1, 2 * turns).astype(int)]
        ]
    )
    compiling = {}
    for name, compute in ours.items():
        start = time.process_time()
        compute(pairs[0])
        compiling[name] = time.process_time() - start
    seconds: dict[str, list[float]] = {}
    for turn in range(turns):
        some = pairs[2 * turn : 2 * turn + 2]
        for name in ("opencv", "skimage"):
            seconds.setdefault(name, []).extend(by_peer(python, some, name, threads)[1])
        for name, compute in ours.items():
            seconds.setdefault(name, []).extend(by_ours(compute, some, threads)[1])
    print(f"{size}, {threads} threads, {2 * turns} pairs: ms a pair, times faster than OpenCV")
    for name, values in seconds.items():
        faster = np.median(np.array(seconds["opencv"]) / np.array(values))
        compiled = f"  (compiled in {compiling[name]:.0f} s)" if name in compiling else ""
        print(f"  {name:10}{1e3 * np.median(values):10.1f}{faster:8.2f}{compiled}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contrib_python", required=True)
    parser.add_argument("--videos", required=True, type=pathlib.Path)
    parser.add_argument("--num_frames", type=int, default=3, help="frames that are warped; 0: none")
    parser.add_argument("--num_pairs", type=int, default=50, help="real pairs")
    parser.add_argument("--turns", type=int, default=4, help="turns of two pairs at each size")
    parser.add_argument("--sizes", default="224x224,256x340", help="sizes timed")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    set_num_threads(arguments.threads)
    ours = {
        "accurate": lambda pair: compute_tvl1(pair, TVL1Params()),
        "fast": lambda pair: compute_tvl1(pair, TVL1Params.fast()),
        "xla": lambda pair: compute_tvl1(pair, TVL1Params(), engine="xla"),
        "fast xla": lambda pair: compute_tvl1(pair, TVL1Params.fast(), engine="xla"),
        "dis": compute_dis,
    }
    real = read_pairs(arguments.videos, arguments.num_pairs)
    if arguments.num_frames:
        compare_accuracy(arguments.contrib_python, ours, real, arguments.num_frames)
    for size in arguments.sizes.split(","):
        compare_speed(
            arguments.contrib_python, ours, real, size, arguments.turns, arguments.threads
        )


if __name__ == "__main__":
    main()
