"""COCO's keypoint annotations of frames, read and written.

One JSON of all clips, or a folder with `NAME.json` of each. `images` have `id`, `file_name`,
`width` and `height`; `annotations` have `image_id` and `keypoints`, x, y in pixels and v of each
joint, in the order of the `keypoints` that the category names, else of COCO's 17. A clip's frames
are the images with one `video_id` (its `videos` entry has the name, as in COCO-VID), else those in
one folder of `file_name` (`CLIP/img_00012.jpg`), else with one name before the number. A frame's
number is `frame_id`, counted from 0, else the last number of the file name, counted from 0 or 1.

v is 0 for joints that are not labelled, 1 for hidden and 2 for visible ones: as scores 0, 0.5 (our
choice: drawn, and less certain) and 1. Where any v of a file is another number, as in results, they
are scores, clipped to [0, 1]. `keypoint_scores` of an annotation, `[joints]`, go before v. People
are sorted by `score` where all of a frame have it, else they keep the order of the file.

`write_coco` writes `videos` with `fps`, `keypoint_scores`, and v 0 for score 0, 1 below the 0.2
from which poses are drawn, else 2. Coordinates keep a thousandth of a pixel.

Source: "Data format" on cocodataset.org (2017); `CocoVID` of MMTracking 1.0; pycocotools 2.0.11.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.files import atomic_file
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.joints import JointOrders, select_joints
from perfnet_tf.pose.keypoint_formats.labelled import LabelledKeypoints
from perfnet_tf.pose.keypoint_formats.sources import (
    FileSource,
    IndexedSource,
    as_numbers,
    first_number,
    in_order,
    read_json,
)
from perfnet_tf.pose.people import MIN_KEYPOINT_SCORE, tight_boxes
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES

_VISIBILITY = {0: 0.0, 1: 0.5, 2: 1.0}
#: Pairs of joints, counted from 1, as COCO's category has them.
_SKELETON = (
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
)


@dataclass
class _Clip:
    """The images of a clip.

    Attributes:
        images: (number, id of the image) of each.
        first: number of the first frame; None: see `sources.first_number`.
        size: of the first image, pixels.
        fps: as the file says.
    """

    images: list[tuple[int, Any]] = field(default_factory=list)
    first: int | None = None
    size: tuple[float, float] | None = None
    fps: float | None = None


def open_source(path: pathlib.Path) -> IndexedSource[_Clip] | FileSource:
    """Opens a file, or a folder."""
    if path.is_dir():
        return FileSource(path, ["*.json"], _read_only_clip)
    return _open_file(path)


def _read_only_clip(file: pathlib.Path) -> ClipKeypoints:
    source = _open_file(file)
    names = list(source.names())
    if len(names) != 1:
        raise InputError(
            f"A JSON in a folder must hold the frames of one video. Received: {file} with "
            f"{len(names)}. Give the file itself as `keypoints`."
        )
    return source.read(names[0])


def _open_file(file: pathlib.Path) -> IndexedSource[_Clip]:
    content = read_json(file)
    try:
        clips = _group_images(content)
        orders = _joint_orders(content)
        people: dict[Any, list[Mapping[str, Any]]] = {}
        for person in content["annotations"]:
            if "keypoints" in person:
                people.setdefault(person["image_id"], []).append(person)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            "COCO's annotations have `images` with `id` and `file_name`, and `annotations` with "
            f"`image_id` and `keypoints`. Received: {file}."
        ) from error
    flags = all(
        value in _VISIBILITY
        for persons in people.values()
        for person in persons
        for value in person["keypoints"][2::3]
    )

    def read(clip: _Clip) -> ClipKeypoints:
        frames = {
            number: _read_people(people.get(image, ()), orders, str(file), flags=flags)
            for number, image in clip.images
        }
        first = first_number(list(frames)) if clip.first is None else clip.first
        return ClipKeypoints(in_order(frames, first), clip.size, clip.fps, every_frame=False)

    return IndexedSource(clips, read)


def _group_images(content: Mapping[str, Any]) -> dict[str, _Clip]:
    videos = {video["id"]: video for video in content.get("videos", ())}
    clips: dict[str, _Clip] = {}
    for image in content["images"]:
        video = videos.get(image.get("video_id"), {})
        place = pathlib.PurePosixPath(image["file_name"])
        digits = re.findall(r"\d+", place.stem)
        in_folder = place.parent.as_posix() != "."
        name = place.parent.as_posix() if in_folder else re.sub(r"[_-]?\d+$", "", place.stem)
        clip = clips.setdefault(video.get("name", name), _Clip())
        number = int(digits[-1])
        if "frame_id" in image:
            number, clip.first = image["frame_id"], 0
        clip.images.append((int(number), image["id"]))
        if clip.size is None and "width" in image and "height" in image:
            clip.size = float(image["width"]), float(image["height"])
        clip.fps = float(video["fps"]) if video.get("fps") else None
    return clips


def _joint_orders(content: Mapping[str, Any]) -> JointOrders:
    for category in content.get("categories", ()):
        names = category.get("keypoints")
        if names and set(KEYPOINT_NAMES) <= set(names):
            return {len(names): names}
    return {len(KEYPOINT_NAMES): KEYPOINT_NAMES}


def _read_people(persons: Any, orders: JointOrders, where: str, *, flags: bool) -> np.ndarray:
    if not persons:
        return np.zeros((0, 17, 3))
    numbers = as_numbers([person["keypoints"] for person in persons], where, dimensions=2)
    if numbers.shape[1] % 3:
        raise InputError(
            f"`keypoints` has 3 numbers for each joint. Received: {numbers.shape[1]} numbers in "
            f"{where}."
        )
    points = numbers.reshape(len(persons), -1, 3)
    if flags:
        points[..., 2] = points[..., 2] / 2
    for person, joints in zip(persons, points, strict=True):
        if "keypoint_scores" in person:
            scores = as_numbers(person["keypoint_scores"], where, dimensions=1)
            if len(scores) != len(joints):
                raise InputError(
                    f"`keypoint_scores` has a number for each joint. Received: {len(scores)} for "
                    f"{len(joints)} joints in {where}."
                )
            joints[:, 2] = scores
    joints = check_finite(select_joints(points, orders, where), where)
    if all("score" in person for person in persons):
        return sort_people(joints, np.array([float(person["score"]) for person in persons]))
    return joints


def write_coco(path: pathlib.Path, clips: Iterator[LabelledKeypoints]) -> None:
    """Writes an annotation JSON.

    Args:
        path: the file.
        clips: their keypoints.
    """
    category = {"id": 1, "name": "person", "supercategory": "person"}
    category |= {"keypoints": KEYPOINT_NAMES, "skeleton": _SKELETON}
    content: dict[str, list[Any]] = {
        "videos": [],
        "images": [],
        "annotations": [],
        "categories": [category],
    }
    for clip in clips:
        _add_clip(content, clip)
    with atomic_file(path) as file:
        file.write(json.dumps(content).encode())


def _add_clip(content: dict[str, list[Any]], clip: LabelledKeypoints) -> None:
    video = len(content["videos"]) + 1
    width, height = clip.size
    content["videos"].append(
        {"id": video, "name": clip.name, "fps": clip.fps, "width": width, "height": height}
        | {"label": clip.label}
    )
    boxes = tight_boxes(clip.keypoints)
    for number, people in enumerate(clip.keypoints):
        image = len(content["images"]) + 1
        content["images"].append(
            {"id": image, "video_id": video, "frame_id": number, "width": width, "height": height}
            | {"file_name": f"{clip.name}/{number:06d}.jpg"}
        )
        for person, box in zip(people, boxes[number], strict=True):
            if person.any():
                annotation = {"id": len(content["annotations"]) + 1, "image_id": image}
                content["annotations"].append(annotation | _annotation(person, box, clip.size))


def _annotation(person: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    scores = person[:, 2].astype(float)
    visibility = np.where(scores >= MIN_KEYPOINT_SCORE, 2, np.where(scores > 0, 1, 0))
    points = (person[:, :2].astype(float) * size).round(3)
    keypoints = [
        value
        for (x, y), v in zip(points.tolist(), visibility.tolist(), strict=True)
        for value in (x, y, v)
    ]
    x_min, y_min, x_max, y_max = (box.astype(float) * (*size, *size)).round(3).tolist()
    return {
        "category_id": 1,
        "keypoints": keypoints,
        "keypoint_scores": scores.round(6).tolist(),
        "num_keypoints": int((visibility > 0).sum()),
        "bbox": [x_min, y_min, round(x_max - x_min, 3), round(y_max - y_min, 3)],
        "area": round((x_max - x_min) * (y_max - y_min), 3),
        "iscrowd": 0,
    }
