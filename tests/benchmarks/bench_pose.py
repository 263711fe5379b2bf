"""The pose stream's costs: drawing against JPEG decoding and OpenCV, and estimators' frame rates.

    python tests/benchmarks/bench_pose.py --weights=DIR [--video=FILE] [--threads=1]

`--weights` holds the folders `posenet_mobilenet_v1_075` and `movenet_multipose`; without `--video`
the frames are smoothed noise with two drawn people. Everything runs in one process; the contenders
take turns, and the medians over the turns are told. With one thread time is processor time, which
other work on the machine disturbs least, else it is wall time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import numpy as np
import tensorflow as tf

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.skeleton import HEAD_KEYPOINTS, LIMBS, NECK_KEYPOINTS, limb_colors
from perfnet_tf.threads import set_num_threads

FRAMES, SIZE = 64, 224


def draw_by_opencv(
    frames: np.ndarray, keypoints: np.ndarray, boxes: np.ndarray, config: PoseRenderConfig
) -> np.ndarray:
    """Bars at the frame's own size, one cv2 call a limb: what one would write by hand."""
    result = frames.copy()
    height, width = frames.shape[1:3]
    colors = limb_colors(config.num_colors)
    for picture, people, people_boxes in zip(result, keypoints, boxes, strict=True):
        for person, box in list(zip(people, people_boxes, strict=True))[::-1]:
            seen = person[:, 2] >= config.min_score
            points = person[:, :2] * (width, height) - 0.5
            places = {k: points[k] for k in range(17) if seen[k]}
            for extra, members in ((17, NECK_KEYPOINTS), (18, HEAD_KEYPOINTS)):
                known = [points[k] for k in members if seen[k]]
                if known:
                    places[extra] = np.mean(known, axis=0)
            side = max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
            thickness = max(1, round(config.thickness * side))
            for (start, end), color in zip(LIMBS, colors, strict=True):
                if start in places and end in places:
                    ends = [tuple(int(v * 16) for v in places[p]) for p in (start, end)]
                    cv2.line(picture, *ends, color, thickness, cv2.LINE_8, 4)
    return result


def make_clip(video: pathlib.Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 frames, keypoints and boxes of two people who walk through them."""
    rng = np.random.default_rng(0)
    if video is None:
        noise = rng.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)
        scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
        frames = np.stack([np.roll(scene, t, axis=1) for t in range(FRAMES)]).astype(np.uint8)
    else:
        capture = cv2.VideoCapture(str(video))
        frames = []
        while len(frames) < FRAMES and (read := capture.read())[0]:
            frames.append(cv2.resize(read[1], (SIZE, SIZE))[..., ::-1])
        frames += frames[-1:] * (FRAMES - len(frames))
        frames = np.ascontiguousarray(frames)
    keypoints = np.zeros((FRAMES, 2, 17, 3), np.float32)
    shape = rng.uniform(0, 1, (2, 17, 2)) * (0.3, 0.8) + (0, 0.1)
    for t in range(FRAMES):
        keypoints[t, :, :, :2] = shape + [[[0.1 + t / 200, 0]], [[0.6 - t / 200, 0]]]
    keypoints[..., 2] = 0.9
    low, high = keypoints[..., :2].min(axis=2), keypoints[..., :2].max(axis=2)
    return frames, keypoints, np.concatenate([low, high], axis=-1)


def take_turns(
    contenders: dict[str, Callable[[], object]], turns: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each, after one call that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(turns):
        for name, run in contenders.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def bench_drawing(video: pathlib.Path | None, turns: int, clock: Callable[[], float]) -> None:
    frames, keypoints, boxes = make_clip(video)
    # As records store them: short side 256.
    stored = [cv2.resize(frame, (341, 256), interpolation=cv2.INTER_CUBIC) for frame in frames]
    stored_jpegs = [tf.io.encode_jpeg(frame, quality=95).numpy() for frame in stored]
    jpegs = [tf.io.encode_jpeg(frame, quality=95).numpy() for frame in frames]
    batch = {
        "rgb": tf.constant(frames[None]),
        "keypoints": tf.constant(keypoints[None]),
        "boxes": tf.constant(boxes[None]),
    }
    config = PoseRenderConfig()

    @tf.function
    def draw():
        return streams_of(batch, ["pose"], config)["pose"]

    @tf.function
    def decode(images):
        return tf.map_fn(
            lambda data: tf.io.decode_jpeg(data, channels=3),
            images,
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
        )

    found = take_turns(
        {
            "drawing, perfnet_tf": draw,
            "drawing, OpenCV from Python": lambda: draw_by_opencv(frames, keypoints, boxes, config),
            "decoding JPEGs of 224x224": lambda: decode(tf.constant(jpegs)),
            "decoding JPEGs of 256x341": lambda: decode(tf.constant(stored_jpegs)),
        },
        turns,
        clock,
    )
    print(f"{FRAMES}x{SIZE}x{SIZE}, 2 people: milliseconds, and shares of either decoding")
    for name, seconds in found.items():
        shares = [seconds / found[f"decoding JPEGs of {size}"] for size in ("224x224", "256x341")]
        print(f"  {name:<30}{1e3 * seconds:9.1f}{shares[0]:8.2f}{shares[1]:8.2f}")


def bench_estimators(weights: pathlib.Path, video: pathlib.Path | None, turns: int, clock) -> None:
    frames = make_clip(video)[0][:16]
    frames = np.stack([cv2.resize(frame, (341, 256)) for frame in frames])
    folders = {"posenet": "posenet_mobilenet_v1_075", "movenet": "movenet_multipose"}
    contenders = {}
    for name, folder in folders.items():
        estimator = make_estimator(name, weights / folder)
        for batch in (1, 16):

            def run(estimator=estimator, batch=batch):
                estimator.batch_size = batch
                estimator(frames)

            contenders[f"{name}, batch {batch}"] = run
    found = take_turns(contenders, turns, clock)
    print("people in frames of 256x341: frames per second")
    for name, seconds in found.items():
        print(f"  {name:<30}{len(frames) / seconds:9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("--video", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    bench_drawing(arguments.video, arguments.turns, clock)
    if arguments.weights:
        bench_estimators(arguments.weights, arguments.video, max(3, arguments.turns // 3), clock)


if __name__ == "__main__":
    main()
