"""One network in every runtime that reads its files: whether all answer as Keras does.

    python tests/benchmarks/runtimes.py --videos=DIR --env opencv5=/tmp/opencv5/bin/python ...

Exports a finished `--run` of an RGB network, or without one a small seeded S3D-G, in every format,
computes its logits with Keras in this process, for clips of five sizes, and lets each runtime
answer the same clips in a process of its own. Prints a Markdown table, whose differences are the
largest of the logits, over the largest logit of clips of that size. The seeded network answers each
clip by small differences of its features, which rounding disturbs more than a trained one's.

The interpreter that runs this needs perfnet_tf with its extras `onnx` and `openvino`. Rows name an
environment; without `--env NAME=PYTHON` it is this interpreter. What it lacks is `not installed` in
the table.

| environment | holds |
|---|---|
| `tensorflow` | tensorflow, tensorflow-hub, tf-keras, keras |
| `tensorflow221` | tensorflow 2.21 |
| `onnxruntime`, `openvino`, `litert` | onnxruntime; openvino; ai-edge-litert |
| `opencv4`, `opencv5` | opencv-python-headless 4.13; 5.0 |
| `torch` | onnx2torch, torch |

`--videos` is a video or a folder of them, by default `clips` of the folder that PERFNET_TEST_DATA
names; without either they are generated. `--output` keeps the files; a second run with it takes
them as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "reference"))

import numpy as np
import tensorflow as tf
import tf_keras
from trained_looking import give_statistics

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.datasets.video_files import list_videos
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.saved_model.calibration import as_float_clip
from perfnet_tf.saved_model.golden import relative_difference
from perfnet_tf.streams import FEATURES
from perfnet_tf.synthetic.dataset import SyntheticConfig, generate_synthetic_dataset
from perfnet_tf.video.decode import read_video

SIZES = tuple(
    ClipConfig.parse(text)
    for text in ("16x112x112", "16x128x160", "32x112x112", "8x96x96", "24x64x80")
)
KINDS = ("random", "real")
CLASSES = tuple(f"class{number}" for number in range(8))
CONFIG = ExperimentConfig(
    clip=SIZES[0], eval_clip=SIZES[0], model=ModelConfig("s3d_g", width_multiplier=0.25)
)
NUM_RANDOM, NUM_REAL = 3, 3
#: What `runtime_answers.py` writes where a file of chosen sizes has no such size.
OTHER_SIZE = "ValueError: the file takes clips of other sizes"
WORKER = pathlib.Path(__file__).with_name("runtime_answers.py")
SAVED_MODEL, FROZEN, BFLOAT16 = "saved_model", "frozen_float32", "frozen_bfloat16"


@dataclasses.dataclass(frozen=True)
class Row:
    """A runtime and a file.

    Attributes:
        name: in the table.
        runtime: of `runtime_answers.OPEN`.
        file: under the output folder.
        packages: imported names whose versions the table shows.
        environment: of `--env`.
        version: what the first package's version must begin with.
        one_at_a_time: the file takes one clip.
        keras: 2 or 3, what `tf.keras` is.
    """

    name: str
    runtime: str
    file: str
    packages: tuple[str, ...]
    environment: str
    version: str = ""
    one_at_a_time: bool = False
    keras: int = 3


@dataclasses.dataclass
class Comparison:
    """A runtime's answers next to Keras's.

    Attributes:
        differences: kind of clip -> difference of each size.
        sizes: those whose clips were all answered.
        failures: reason -> the sizes that were not, as keys, in order.
        same, total: clips with the same first answer, and all that were answered.
    """

    differences: dict[str, list[float]]
    sizes: list[str] = dataclasses.field(default_factory=list)
    failures: dict[str, dict[str, None]] = dataclasses.field(default_factory=dict)
    same: int = 0
    total: int = 0


def _rows() -> Iterator[Row]:
    tensorflow, hub, keras = ("tensorflow",), ("tensorflow", "tensorflow_hub"), ("keras",)
    yield Row("`hub.load`", "hub_load", SAVED_MODEL, hub, "tensorflow")
    yield Row(
        "`hub.KerasLayer`", "hub_layer", SAVED_MODEL, (*hub, "tf_keras"), "tensorflow", keras=2
    )
    yield Row("`keras3_layer.py`", "keras3_layer", SAVED_MODEL, tensorflow + keras, "tensorflow")
    yield Row("`TFSMLayer`", "tfsm_layer", SAVED_MODEL, tensorflow + keras, "tensorflow")
    for environment, version in (("tensorflow", "2.20"), ("tensorflow221", "2.21")):
        for file in (SAVED_MODEL, FROZEN, BFLOAT16):
            yield Row("signature", "signature", file, tensorflow, environment, version)
    onnx = f"{SAVED_MODEL}/model.onnx"
    yield Row("ONNX Runtime", "onnxruntime", onnx, ("onnxruntime",), "onnxruntime")
    yield Row("OpenVINO", "openvino", onnx, ("openvino",), "openvino")
    yield Row("OpenCV dnn", "opencv", onnx, ("cv2",), "opencv4", "4.")
    yield Row("OpenCV dnn", "opencv", onnx, ("cv2",), "opencv5", "5.")
    yield Row("torch", "onnx2torch", onnx, ("onnx2torch", "torch"), "torch")
    for weights in ("float32", "float16", "int8", "full_int8"):
        file = f"{SAVED_MODEL}/model_{weights}.tflite"
        for name, runtime in (("`Interpreter`", "litert"), ("`CompiledModel`", "compiled_model")):
            yield Row(name, runtime, file, ("ai_edge_litert",), "litert", one_at_a_time=True)
        yield Row(
            "`tf.lite.Interpreter`", "tf_lite", file, tensorflow, "tensorflow", one_at_a_time=True
        )
    file = f"{SAVED_MODEL}/model_full_int8.xml"
    yield Row("OpenVINO", "openvino", file, ("openvino",), "openvino", one_at_a_time=True)


def random_clips(size: ClipConfig, seed: int) -> np.ndarray:
    """Blocks of random grain, brightness and contrast; float32 `[NUM_RANDOM, ..., 3]` in [0, 1]."""
    random = np.random.default_rng(seed)
    clips = []
    for _ in range(NUM_RANDOM):
        grain = [int(random.integers(1, most)) for most in (5, 17, 17)]
        shape = (size.num_frames, size.height, size.width)
        blocks = random.random([-(-n // g) for n, g in zip(shape, grain, strict=True)] + [3])
        for axis, width in enumerate(grain):
            blocks = blocks.repeat(width, axis)
        low, high = np.sort(random.random((2, 3)), axis=0)
        clips.append(low + (high - low) * blocks[: shape[0], : shape[1], : shape[2]])
    return np.stack(clips).astype(np.float32)


def real_clips(videos: str) -> dict[ClipConfig, np.ndarray]:
    """The first frames' centre of a few videos, float32 `[videos, ..., 3]` in [0, 1], by size."""
    most = max(size.num_frames for size in SIZES)
    side = max(max(size.height, size.width) for size in SIZES)
    read = [
        read_video(path, short_side=side, max_frames=most).frames
        for path in list_videos([videos])[0][:NUM_REAL]
    ]
    clips = {}
    for size in SIZES:
        cut = []
        for frames in read:
            top = (frames.shape[1] - size.height) // 2
            left = (frames.shape[2] - size.width) // 2
            cut.append(frames[: size.num_frames, top:, left:][:, : size.height, : size.width])
        clips[size] = as_float_clip(np.stack(cut))
    return clips


def build_network(clips: Mapping[ClipConfig, np.ndarray]) -> VideoModel:
    """A seeded S3D-G whose batch norm and classifier are fitted to clips, so that answers vary."""
    tf_keras.utils.set_random_seed(0)
    model = give_statistics(build_from_config(CONFIG.model, len(CLASSES)))
    for layer in model.submodules:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(clips[SIZES[0]], training=True)
    features = np.concatenate([model.endpoints(clip)[FEATURES] for clip in clips.values()])
    # Along the features' main directions, where clips differ by more than rounding does.
    directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[2][:3].T
    kernel = directions @ np.random.default_rng(0).normal(size=(3, len(CLASSES)))
    logits = features @ kernel
    model.classifier.kernel.assign(kernel / logits.std())
    model.classifier.bias.assign(-logits.mean(axis=0) / logits.std())
    return model


def export(folder: pathlib.Path, videos: str, run: str | None) -> None:
    """Writes the files, the clips and Keras's logits into a new folder."""
    (folder / "clips").mkdir(parents=True)
    (folder / "expected").mkdir()
    by_kind = {
        "random": {size: random_clips(size, seed) for seed, size in enumerate(SIZES)},
        "real": real_clips(videos),
    }
    if run is None:
        clips = {size: np.concatenate([by_kind[kind][size] for kind in KINDS]) for size in SIZES}
        model, classes, config = build_network(clips), CLASSES, CONFIG
    else:
        loaded = load_run(run)
        model, classes = loaded.model, loaded.classes
        config = loaded.config.replace(eval_clip=SIZES[0])
    for kind in KINDS:
        for size, clip in by_kind[kind].items():
            name = f"{kind}_{size}.npy"
            np.save(folder / "clips" / name, clip)
            np.save(folder / "expected" / name, model(tf.constant(clip), training=False))
    about = {"classes": classes, "config": config}
    for path, precision in ((FROZEN, "float32"), (BFLOAT16, "bfloat16")):
        export_saved_model(model, folder / path, inference_only=True, precision=precision, **about)
    export_saved_model(
        model,
        folder / SAVED_MODEL,
        tflite=True,
        tflite_clip=SIZES,
        onnx=True,
        int8=True,
        calibration=videos,
        **about,
    )


def generate_videos(folder: pathlib.Path) -> str:
    """A generated video of each class of `perfnet_tf.synthetic`, one person each."""
    config = SyntheticConfig(clips_per_class=2, width=240, height=180)
    return str(generate_synthetic_dataset(folder, config, workers=1).videos)


def answer(row: Row, folder: pathlib.Path, python: str, answers: pathlib.Path) -> str:
    """Lets a runtime answer; returns the last line that its process printed if it failed."""
    specification = {
        "runtime": row.runtime,
        "file": str(folder / row.file),
        "clips": str(folder / "clips"),
        "answers": str(answers),
        "one_at_a_time": row.one_at_a_time,
        "packages": row.packages,
        "version": row.version,
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["TF_USE_LEGACY_KERAS"] = str(int(row.keras == 2))
    ended = subprocess.run(
        [python, str(WORKER), json.dumps(specification)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    )
    if ended.returncode == 0:
        return ""
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return f"its process ended with status {ended.returncode}: {lines[-1] if lines else ''}"[:300]


def compare(folder: pathlib.Path, answers: pathlib.Path, ended: str) -> Comparison:
    """Compares what a runtime wrote into `answers` with Keras; `ended` is what `answer` gave."""
    compared = Comparison({kind: [] for kind in KINDS})
    for size in SIZES:
        paths = {kind: answers / f"{kind}_{size}.npy" for kind in KINDS}
        for path in paths.values():
            if not path.exists():
                why = path.with_suffix(".txt")
                reason = why.read_text() if why.exists() else ended
                compared.failures.setdefault(reason, {})[str(size)] = None
        if not all(path.exists() for path in paths.values()):
            continue
        compared.sizes.append(str(size))
        for kind, path in paths.items():
            logits, expected = np.load(path), np.load(folder / "expected" / path.name)
            compared.differences[kind].append(relative_difference(logits, expected))
            compared.same += int((logits.argmax(1) == expected.argmax(1)).sum())
            compared.total += len(expected)
    return compared


def describe(row: Row, versions: Mapping[str, str], compared: Comparison) -> list[str]:
    """A line of the table, and a line for each reason why clips have no answer."""
    name = ", ".join([row.name, *(f"{package} {version}" for package, version in versions.items())])
    if "missing" in versions:
        wanted = f"{row.name} {row.version}".strip()
        return [f"| {wanted} | `{row.file}` | not installed | | | |"]
    ran = "all" if len(compared.sizes) == len(SIZES) else ", ".join(compared.sizes) or "none"
    worst = [f"{max(values):.1e}" if values else "" for values in compared.differences.values()]
    line = " | ".join([name, f"`{row.file}`", ran, *worst, f"{compared.same} of {compared.total}"])
    failed = [
        f"- {name}, `{row.file}`, {', '.join(sizes)}: {reason}"
        for reason, sizes in compared.failures.items()
        if reason != OTHER_SIZE
    ]
    return [f"| {line} |", *failed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output")
    parser.add_argument("--run", help="finished run of an RGB network")
    parser.add_argument("--videos")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--only", default="", help="rows whose runtime is named so")
    arguments = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in arguments.env)
    unknown = pythons.keys() - {row.environment for row in _rows()}
    if unknown:
        parser.error(f"no row of the table has the environment {', '.join(sorted(unknown))}")
    for name, python in pythons.items():
        if shutil.which(python) is None:
            parser.error(f"--env {name}: {python} is no interpreter")
    data = os.environ.get("PERFNET_TEST_DATA")
    videos = arguments.videos or (data and str(pathlib.Path(data) / "clips"))
    with tempfile.TemporaryDirectory(prefix="perfnet-runtimes-") as name:
        folder = pathlib.Path(arguments.output or name) / "files"
        if not folder.exists():
            videos = videos or generate_videos(pathlib.Path(name) / "videos")
            export(folder, videos, arguments.run)
        lines = [
            "| runtime | file | sizes that run | random clips | real clips | same first answer |",
            "|---|---|---|---|---|---|",
        ]
        failures = []
        for number, row in enumerate(_rows()):
            if arguments.only not in row.runtime:
                continue
            answers = pathlib.Path(name) / str(number)
            answers.mkdir()
            python = pythons.get(row.environment, sys.executable)
            ended = answer(row, folder, python, answers)
            path = answers / "versions.json"
            versions = json.loads(path.read_text()) if path.exists() else {}
            line, *failed = describe(row, versions, compare(folder, answers, ended))
            print(line, *failed, sep="\n", file=sys.stderr, flush=True)
            lines.append(line)
            failures += failed
    print(*lines, "", "TensorFlow Serving: not run.", *failures, sep="\n")


if __name__ == "__main__":
    main()
