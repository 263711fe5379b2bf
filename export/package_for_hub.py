"""Makes the folder that goes to Kaggle Models, where TF Hub lives now, from an exported model.

    python export/package_for_hub.py --model=student --output=package \
        --owner=me --slug=perf-net --variation=s3d-g-ucf101

It writes

    package/model-metadata.json                   the model and its card
    package/model_card.md                         the card by itself
    package/variation/model-instance-metadata.json  this variation
    package/variation/                            the SavedModel, and keras3_layer.py
    package/model.tar.gz                          the SavedModel for a web server of your own

Every number in the card comes from the SavedModel's model.json; what was not measured is said to
be so. Nothing is uploaded.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import string
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from absl import app, flags

from perfnet_tf import InputError
from perfnet_tf.backbones import BACKBONES
from perfnet_tf.recognizers.info import (
    INFO_FILE,
    LABELS_FILE,
    PAPER,
    ModelInfo,
    describe_quantization,
)
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS
from perfnet_tf.registry import load_plugins
from perfnet_tf.reporting.markdown import escape
from perfnet_tf.streams import POSE, STREAMS

_MODEL = flags.DEFINE_string("model", None, "SavedModel of perfnet export.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to make.", required=True)
_OWNER = flags.DEFINE_string("owner", None, "Kaggle user or organisation.", required=True)
_SLUG = flags.DEFINE_string("slug", None, "Kaggle's name of the model.", required=True)
_VARIATION = flags.DEFINE_string("variation", None, "Its variation; default: made of the network.")
_TITLE = flags.DEFINE_string(
    "title",
    None,
    "Its page's title; default: PERF-Net, or what published weights are.",
)

TEMPLATE = pathlib.Path(__file__).with_name("model_card.md.tmpl")
KERAS3_LAYER = pathlib.Path(__file__).with_name("keras3_layer.py")

FINE_TUNING = """\
To fine-tune it on other classes, with tf_keras (`TF_USE_LEGACY_KERAS=1` makes `tf.keras` the same):

```python
import tf_keras

features = hub.KerasLayer(model.feature_extractor, trainable=True)
classifier = tf_keras.Sequential([features, tf_keras.layers.Dropout(0.5), tf_keras.layers.Dense(5)])
```

In Keras 3, which cannot train a `hub.KerasLayer`, with the `keras3_layer.py` in the
model's folder:

```python
import sys

import keras

folder = hub.resolve("https://www.kaggle.com/models/$handle/1")
sys.path.append(folder)
from keras3_layer import RecognizerLayer

features = RecognizerLayer(folder, part="feature_extractor")
classifier = keras.Sequential([features, keras.layers.Dropout(0.5), keras.layers.Dense(5)])
```

Weight decay comes with the layer's losses, and batch norm trains with it."""
FROZEN = "Its weights are frozen, with batch norm folded into them: it cannot be fine-tuned."

#: SPDX name -> Kaggle's name. Kaggle takes no others.
LICENSES = {
    "Apache-2.0": "Apache 2.0",
    "BSD-3-Clause": "BSD-3-Clause",
    "CC-BY-4.0": "Attribution 4.0 International (CC BY 4.0)",
    "CC-BY-NC-4.0": "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
    "CC-BY-NC-SA-4.0": "CC BY-NC-SA 4.0",
    "CC-BY-SA-4.0": "CC BY-SA 4.0",
    "CC0-1.0": "CC0: Public Domain",
    "GPL-3.0-only": "GPL 3",
    "MIT": "MIT",
}

DRAWING = """\
- Or `model.from_keypoints(frames, keypoints)`, which draws by itself: `uint8` RGB frames, and
  `float32` `[batch, frames, people, 17, 3]` of x and y in [0, 1] of the frame and a score, in
  COCO's order; a person with scores of 0 is absent.
"""


def package(
    model: pathlib.Path,
    output: pathlib.Path,
    *,
    owner: str,
    slug: str,
    variation: str | None = None,
    title: str | None = None,
) -> None:
    """Writes the folder of the module's docstring.

    Raises:
        InputError: `model` is not of perfnet export, `output` is in use, or a name or licence is
            not one that Kaggle takes.
    """
    if not (model / "saved_model.pb").is_file() or not (model / "assets" / INFO_FILE).is_file():
        raise InputError(f"A SavedModel of perfnet export was expected. Received: {model}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"The output must be a new or empty folder. Received: {output}.")
    info = ModelInfo.from_json((model / "assets" / INFO_FILE).read_text(encoding="utf-8"))
    labels = (model / "assets" / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    if info.license not in LICENSES:
        raise InputError(
            f"Kaggle takes weights under {', '.join(LICENSES)}. Received: {info.license!r}. "
            "Export with another --license, or host model.tar.gz yourself."
        )
    origin = find_origin(info)
    variation = variation or origin.variation
    title = title or origin.title
    for name, value in (("owner", owner), ("slug", slug), ("variation", variation)):
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
            raise InputError(
                f"A Kaggle {name} is lower-case letters, digits and single hyphens. "
                f"Received: {value!r}."
            )
    handle = f"{owner}/{slug}/tensorFlow2/{variation}"
    card = write_card(info, labels, handle=handle, title=title)

    target = output / "variation"
    shutil.copytree(model, target)
    if not info.inference_precision:
        shutil.copy(KERAS3_LAYER, target)
    _write_json(
        output / "model-metadata.json",
        {
            "ownerSlug": owner,
            "title": title,
            "slug": slug,
            "subtitle": "RGB-only video action recognition",
            "isPrivate": True,
            "description": card,
            "publishTime": "",
            "provenanceSources": origin.sources,
        },
    )
    _write_json(
        target / "model-instance-metadata.json",
        {
            "ownerSlug": owner,
            "modelSlug": slug,
            "instanceSlug": variation,
            "framework": "tensorFlow2",
            "overview": f"{BACKBONES[info.experiment.model.backbone].title} for "
            f"{STREAMS[info.experiment.stream].content}, {len(labels)} classes"
            + (f" of {origin.dataset}." if origin.dataset else "."),
            "usage": card[card.index("## How to use it") :],
            "licenseName": LICENSES[info.license],
            "fineTunable": info.inference_precision is None,
            "trainingData": [origin.dataset] if origin.dataset else [],
            "modelInstanceType": "Unspecified",
            "baseModelInstance": "",
            "externalBaseModelUrl": "",
        },
    )
    (output / "model_card.md").write_text(card, encoding="utf-8")
    with tarfile.open(output / "model.tar.gz", "w:gz") as archive:
        for path in sorted(model.rglob("*")):
            archive.add(path, path.relative_to(model), recursive=False, filter=_anonymous)


def write_card(info: ModelInfo, labels: Sequence[str], *, handle: str, title: str) -> str:
    """The model card, as Markdown."""
    experiment, clip = info.experiment, info.experiment.resolved_eval_clip
    origin = find_origin(info)
    stream = STREAMS[experiment.stream]
    fps = info.dataset.get("fps", DEFAULT_FPS)
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=title,
        handle=handle,
        backbone=BACKBONES[experiment.model.backbone].title,
        stream=stream.content,
        input=f"{stream.content}, `{stream.shape}`: {stream.values}",
        drawing=DRAWING if experiment.stream == POSE else "",
        num_classes=len(labels),
        labels=", ".join(map(escape, labels)),
        clip=f"{clip.num_frames} frames (every {_ordinal(clip.frame_stride)}) of "
        f"{clip.height}x{clip.width}",
        rate=f"{fps:g} frames per second" if fps else "each video's own frame rate",
        training_data=origin.training,
        evaluation=_evaluation(info),
        first_weights=origin.first_weights,
        loss=origin.loss,
        versions=", ".join(f"{name} {version}" for name, version in info.versions.items()),
        license=info.license,
        fine_tuning=FROZEN if info.inference_precision else FINE_TUNING.replace("$handle", handle),
        formats=_formats(info),
        lineage=origin.lineage,
    )


@dataclass(frozen=True)
class Origin:
    """What the card and Kaggle's fields say about where a network comes from.

    Attributes:
        variation: default name of the Kaggle variation.
        title: default title of the page.
        dataset: name of the training data; empty if it was not recorded.
        training: name and size of the training data.
        loss: loss the network was trained with.
        lineage: authors of the method, the weights and the implementation.
        sources: sources of the weights, for Kaggle.
        first_weights: line about the published weights that training began with; empty if none.
    """

    variation: str
    title: str
    dataset: str
    training: str
    loss: str
    lineage: str
    sources: str
    first_weights: str = ""


def find_origin(info: ModelInfo) -> Origin:
    """Tells converted published weights from a network that was trained here."""
    weights = info.pretrained
    if weights and not weights.get("trained_further"):
        return Origin(
            variation=_slug(weights["name"]),
            title=weights["summary"],
            dataset=weights["training_data"],
            training=f"{weights['training_data']}, by its authors.",
            loss="its authors'.",
            lineage=f"{weights['summary']}. Network and weights are those of "
            f"{weights['publisher']}: {weights['citation']}. Converted, not trained further: an "
            "independent implementation in TensorFlow 2, not by the authors.",
            sources=f"{weights['publisher']}; {weights['citation']}",
        )
    experiment, dataset = info.experiment, info.dataset.get("name", "")
    clips, paper = info.dataset.get("num_clips"), f"https://arxiv.org/abs/{PAPER['arxiv']}"
    size = f": {clips} clips." if clips else "."
    sources, first_weights = paper, ""
    if weights:
        sources += f"; first weights: {weights['publisher']}; {weights['citation']}"
        first_weights = (
            f"- First weights: {weights['summary']}, of {weights['publisher']} "
            f"({weights['license']}): {weights['citation']}.\n"
        )
    loss = "cross-entropy"
    if experiment.distill is not None:
        loss += f" and {experiment.distill.loss} distillation from teachers (Eq. 1)"
    return Origin(
        variation=_slug(f"{experiment.model.backbone} {experiment.stream} {dataset}"),
        title="PERF-Net",
        dataset=dataset,
        training=f"{dataset}, training split{size}" if dataset else "Not recorded.",
        loss=f"{loss}.",
        lineage=f"After [{PAPER['title']}]({paper}), {PAPER['authors']}; an independent "
        "implementation in TensorFlow, not by the authors.",
        sources=sources,
        first_weights=first_weights,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _evaluation(info: ModelInfo) -> str:
    if not info.metrics:
        return "This model was not evaluated before it was packaged."
    metrics = info.metrics
    rows = [("top-1", "top1"), ("top-5", "top5"), ("mean over classes", "mean_class_accuracy")]
    lines = [f"| {name} | {metrics[key]:.2%} |" for name, key in rows if key in metrics]
    data = " ".join(str(metrics[key]) for key in ("dataset", "split") if key in metrics)
    heading = f"{metrics['num_clips']} clips of {data}, one central crop" + (
        f" of {metrics['clip']}." if "clip" in metrics else "."
    )
    return "\n".join([heading, "", "| accuracy | |", "|---|---|", *lines])


def _formats(info: ModelInfo) -> str:
    """The files of other runtimes next to the SavedModel, and how well they agree with it."""
    files = {name: share for name, share in info.parity.items() if name != "saved_model"}
    if not files:
        return ""
    rows = [f"| `{name}` | {share:.1e} |" for name, share in files.items()]
    heading = "| file next to the SavedModel | its logits differ by, of the largest |"
    lines = describe_quantization(info.quantization)
    return "\n".join(
        ["", heading, "|---|---|", *rows, "", *map(escape, lines), *[""] * bool(lines)]
    )


def _ordinal(stride: int) -> str:
    return {1: "frame", 2: "second frame"}.get(stride, f"{stride}th frame")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the packager's name and clock: the same model gives the same archive members."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _write_json(path: pathlib.Path, values: dict) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def main(argv: Sequence[str]) -> None:
    """Packages what the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    output = pathlib.Path(_OUTPUT.value)
    try:
        load_plugins()
        package(
            pathlib.Path(_MODEL.value),
            output,
            owner=_OWNER.value,
            slug=_SLUG.value,
            variation=_VARIATION.value,
            title=_TITLE.value,
        )
    except InputError as error:
        sys.exit(f"package_for_hub.py: {error}")
    print(
        f"{output}: read model_card.md, then\n"
        f"  kaggle models create -p {output}\n"
        f"  kaggle models variations create -p {output / 'variation'} --dir-mode tar\n"
        "The model is private until you publish it there."
    )


if __name__ == "__main__":
    app.run(main)
