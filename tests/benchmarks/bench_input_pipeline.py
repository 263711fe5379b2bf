"""The input pipeline against bare JPEG decoding of the same frames.

    python tests/benchmarks/bench_input_pipeline.py --data=DIR --clip=64x224x224

`--data` is a prepared dataset. Processor time a clip, which other work on the machine disturbs
least, is the median over rounds that alternate between the two; clips/s are for the cores that
this process may use, were they all its own. `--needed=RATE` adds how many cores feed that many
clips per second, such as what `perfnet tpu-check` estimates for a TPU; `--uncompiled` does without
XLA, as TensorFlow on the host of a TPU must.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline import augment
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.input_pipeline.order import shuffled_position
from perfnet_tf.input_pipeline.record_index import RecordIndex
from perfnet_tf.records import schema, stored_sources
from perfnet_tf.records.folder import read_dataset_info

SEED = 0


def same_frames(data: str, split: str, clip: ClipConfig, count: int) -> list[tf.Tensor]:
    """The encoded frames of the first `count` training clips, as the pipeline takes them."""
    index = RecordIndex.read(data, split)
    frames = []
    for element in range(count):
        element = tf.constant(element, tf.int64)
        record = index.load(shuffled_position(element, len(index), SEED))
        _, lists = tf.io.parse_single_sequence_example(
            record,
            {schema.NUM_FRAMES_KEY: tf.io.FixedLenFeature([], tf.int64)},
            {schema.ENCODED_KEY: tf.io.FixedLenSequenceFeature([], tf.string)},
        )
        encoded = lists[schema.ENCODED_KEY]
        view = augment.draw_view(tf.stack([tf.constant(SEED, tf.int64), element]), mirror=True)
        indices = augment.frame_indices(tf.shape(encoded)[0], clip, view.start)
        frames.append(tf.gather(encoded, indices))
    return frames


def decode_only(frames: list[tf.Tensor]) -> tf.data.Dataset:
    """Decodes every frame of each clip, in parallel over clips as the pipeline does, for ever."""
    dataset = tf.data.Dataset.from_tensor_slices(tf.stack(frames)).repeat()
    return dataset.map(stored_sources.decode_frames, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
        2
    )


def seconds_a_clip(batches: object, clips: int, batch_size: int) -> tuple[float, float]:
    """Processor time and time on the wall for a clip."""
    settle()
    processor, wall = time.process_time(), time.monotonic()
    for _ in range(clips // batch_size):
        next(batches)
    wall = (time.monotonic() - wall) / clips
    settle()  # buffers are as full as they were: they have been filled for as many clips
    return (time.process_time() - processor) / clips, wall


def settle(still: float = 0.5) -> None:
    """Returns when no thread of this process has worked for `still` seconds."""
    busy = True
    while busy:
        before = time.process_time()
        time.sleep(still)
        busy = time.process_time() - before > 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--clip", default="64x224x224")
    parser.add_argument("--streams", default="rgb")
    parser.add_argument("--clips", type=int, default=16, help="a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--needed", type=float, help="clips per second to feed")
    parser.add_argument("--uncompiled", action="store_true")
    arguments = parser.parse_args()
    if arguments.uncompiled:
        augment.processor_compiles = lambda: False

    info = read_dataset_info(arguments.data)
    clip = ClipConfig.parse(arguments.clip)
    if min(clip.height, clip.width) > info.short_side:
        raise SystemExit(f"the records have {info.short_side} pixels, the clip wants more")
    # Frames as they are stored, so that both do the same decoding and neither resizes.
    clip = ClipConfig(clip.num_frames, clip.height, clip.width, short_side=info.short_side)
    bare = iter(decode_only(same_frames(arguments.data, arguments.split, clip, arguments.clips)))
    pipelines = {
        streams: iter(
            build_dataset(
                arguments.data,
                arguments.split,
                clip=clip,
                streams=streams.split("+"),
                batch_size=4,
                training=True,
                seed=SEED,
            )
        )
        for streams in arguments.streams.split(",")
    }
    times: dict[str, list[tuple[float, float]]] = {"bare": [], **{s: [] for s in pipelines}}
    for _ in range(arguments.rounds + 1):
        times["bare"].append(seconds_a_clip(bare, arguments.clips, 1))
        for streams, batches in pipelines.items():
            times[streams].append(seconds_a_clip(batches, arguments.clips, 4))
    times = {name: values[1:] for name, values in times.items()}  # the first warms up

    cores = len(os.sched_getaffinity(0))
    result = {
        "clip": str(clip),
        "stored": info.short_side,
        "cores": cores,
        "compiled": augment.processor_compiles(),
        "pipelines": {},
    }
    medians = {name: np.median([value[0] for value in values]) for name, values in times.items()}
    result["bare_decoding"] = {
        "processor_ms_a_clip": 1e3 * medians["bare"],
        "clips_per_second": cores / medians["bare"],
    }
    for streams in pipelines:
        pairs = zip(times["bare"], times[streams], strict=True)
        ratios = [one[0] / other[0] for one, other in pairs]
        result["pipelines"][streams] = {
            "processor_ms_a_clip": 1e3 * medians[streams],
            "clips_per_second": cores / medians[streams],
            "of_bare_decoding": float(np.median(ratios)),
            "wall_clips_per_second": 1 / np.median([value[1] for value in times[streams]]),
        }
        if arguments.needed:
            result["pipelines"][streams]["cores_needed"] = arguments.needed * medians[streams]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
