"""The same people in every keypoint format, by its documented layout."""

import json
import pickle

import numpy as np

from perfnet_tf.pose.keypoint_formats import open_keypoints
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES

WIDTH, HEIGHT = 200, 100
CLIP, VIDEO = "Lunges/v_Lunges_g01_c02", "/videos/Lunges/v_Lunges_g01_c02.avi"
STEM = "v_Lunges_g01_c02"


def person(x, y, score):
    """17 joints, each at its own place: x and y rise by 4 and 3 pixels from joint to joint."""
    steps = np.arange(17)
    scores = score + steps / 1000
    return np.stack([x + 4.0 * steps, y + 3.0 * steps, scores], axis=1)


STRONG, WEAK = person(100, 10, 0.8), person(10, 40, 0.3)
#: Two people, the weaker first; nobody; one.
FRAMES = [np.stack([WEAK, STRONG]), np.zeros((0, 17, 3)), STRONG[None]]
SORTED = [np.stack([STRONG, WEAK]), np.zeros((0, 17, 3)), STRONG[None]]
SCALE = np.array([WIDTH, HEIGHT, 1.0])

BODY_25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee "
    "LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
).split()
COCO_18 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar"
).split()
MEDIAPIPE = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11,
    "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16,
    "left_hip": 23, "right_hip": 24, "left_knee": 25, "right_knee": 26, "left_ankle": 27,
    "right_ankle": 28,
}  # fmt: skip


def openpose_name(name):
    side, _, part = name.partition("_")
    return f"{side[0].upper()}{part.title()}" if part else name.title()


def in_openpose_order(joints, order):
    by_name = dict(zip(map(openpose_name, KEYPOINT_NAMES), joints, strict=True))
    return np.array([by_name.get(name, (7.0, 7.0, 0.9)) for name in order])


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def padded(joints, number):
    return np.concatenate([joints, np.full((number - 17, 3), 3.0)])


def write_openpose(folder, order, change=lambda joints: joints):
    for number, people in enumerate(FRAMES):
        entries = [
            {"person_id": [-1], "pose_keypoints_2d": in_openpose_order(change(one), order).ravel()}
            for one in people
        ]
        entries = [{**one, "pose_keypoints_2d": list(one["pose_keypoints_2d"])} for one in entries]
        path = folder / f"{STEM}_{number:012d}_keypoints.json"
        dump(path, {"version": 1.3, "people": entries})


def body_25(root):
    write_openpose(root / STEM, BODY_25)


def body_25_by_clip_id(root):
    write_openpose(root / CLIP, BODY_25)


def coco_18_in_one_folder(root):
    write_openpose(root, COCO_18)
    dump(root / "other_000000000000_keypoints.json", {"people": []})


def body_25_in_0_to_1(root):
    write_openpose(root / STEM, BODY_25, lambda joints: joints / SCALE)


def body_25_around_0(root):
    write_openpose(root / STEM, BODY_25, lambda one: one / SCALE * [2, 2, 1] - [1, 1, 0])


def pyskl_annotation(**changes):
    keypoint = np.zeros((2, 3, 17, 2), np.float32)
    score = np.zeros((2, 3, 17), np.float32)
    for number, people in enumerate(SORTED):
        keypoint[: len(people), number] = people[..., :2]
        score[: len(people), number] = people[..., 2]
    values = {
        "frame_dir": STEM,
        "label": 1,
        "img_shape": (HEIGHT, WIDTH),
        "original_shape": (HEIGHT, WIDTH),
        "total_frames": 3,
        "keypoint": keypoint.astype(np.float16),
        "keypoint_score": score.astype(np.float16),
    }
    return values | changes


def pyskl_file(root, annotations, protocol=2):
    content = {"split": {"train1": [STEM]}, "annotations": annotations}
    (root / "ucf.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    return root / "ucf.pkl"


def pyskl(root):
    return pyskl_file(root, [pyskl_annotation(), pyskl_annotation(frame_dir="other")])


def pyskl_protocol_5_list(root):
    (root / "custom.pkl").write_bytes(pickle.dumps([pyskl_annotation()], protocol=5))
    return root / "custom.pkl"


def pyskl_compressed(root):
    points = np.concatenate(SORTED).astype(np.float16)
    annotation = pyskl_annotation(keypoint=points, frame_inds=np.array([0, 0, 2], np.int16))
    del annotation["keypoint_score"]
    return pyskl_file(root, [annotation])


def alphapose_results(names, joints=17):
    return [
        {"image_id": names[number], "category_id": 1, "box": [1.0, 2.0, 3.0, 4.0], "idx": [0.0]}
        | {"keypoints": padded(one, joints).ravel().tolist(), "score": 3 * one[:, 2].mean()}
        for number, people in enumerate(FRAMES)
        for one in people
    ]


def alphapose(root):
    dump(root / f"{STEM}.json", alphapose_results(["0.jpg", "1.jpg", "2.jpg"]))


def alphapose_halpe_136_of_pictures(root):
    names = ["img_00001.jpg", "img_00002.jpg", "img_00003.jpg"]
    dump(root / CLIP / "alphapose-results.json", alphapose_results(names, 136))


def landmarks(joints, *, z):
    values = np.full((33, 4 if z else 3), 0.5)
    for name, joint in zip(KEYPOINT_NAMES, joints / SCALE, strict=True):
        values[MEDIAPIPE[name]] = [*joint[:2], -0.1, joint[2]] if z else joint
    return values


def mediapipe_npy(root):
    frames = np.full((3, 2, 33, 4), np.nan)
    for number, people in enumerate(FRAMES):
        for place, one in enumerate(people):
            frames[number, place] = landmarks(one, z=True)
    np.save(root / f"{STEM}.npy", frames)


def mediapipe_json(root):
    frames = [[landmarks(one, z=False).tolist() for one in people] for people in FRAMES]
    dump(root / f"{STEM}.json", [frames[0], None, frames[2]])


def mediapipe_objects(root):
    def entry(values):
        x, y, z, visibility = values
        return {"x": x, "y": y, "z": z, "visibility": visibility, "presence": 0.9}

    frames = [
        [[entry(one) for one in landmarks(joints, z=True).tolist()] for joints in people]
        for people in FRAMES
    ]
    dump(root / f"{STEM}.json", {"frames": frames})


def save_txt(folder, *, confidence=(), extra=lambda one: []):
    folder.mkdir(parents=True)
    for number, people in enumerate(FRAMES):
        lines = []
        for one in people:
            joints = (one / SCALE)[:, : 2 if confidence is None else 3]
            values = [0, 0.5, 0.5, 0.2, 0.4, *joints.ravel(), *extra(one)]
            lines.append(" ".join(f"{value:g}" for value in values))
        if lines:
            (folder / f"{STEM}_{number + 1}.txt").write_text("\n".join(lines) + "\n")


def ultralytics_labels(root):
    save_txt(root / "labels")
    (root / "labels" / "other_1.txt").write_text("")


def ultralytics_with_confidence_and_track(root):
    save_txt(root / STEM / "labels", extra=lambda one: [one[0, 2], 7])


def ultralytics_arrays(root):
    data = np.zeros((3, 2, 17, 3))
    for number, people in enumerate(FRAMES):
        data[number, : len(people)] = people
    np.savez(root / f"{STEM}.npz", data=data, orig_shape=np.array([HEIGHT, WIDTH]))


def mmpose_frames(joints=17):
    return [
        {
            "frame_id": number + 1,
            "instances": [
                {"keypoints": padded(one, joints)[:, :2].tolist()}
                | {"keypoint_scores": padded(one, joints)[:, 2].tolist()}
                | {"bbox": [[1.0, 2.0, 3.0, 4.0]], "bbox_score": float(one[0, 2])}
                for one in people
            ],
        }
        for number, people in enumerate(FRAMES)
    ]


def mmpose_demo(root):
    content = {"meta_info": {"dataset_name": "coco"}, "instance_info": mmpose_frames()}
    dump(root / f"results_{STEM}.json", content)


def mmpose_inferencer_wholebody(root):
    dump(root / f"{STEM}.json", mmpose_frames(133))


def rtmlib_arrays(root):
    keypoints, scores = np.zeros((3, 2, 26, 2)), np.zeros((3, 2, 26))
    for number, people in enumerate(FRAMES):
        for place, one in enumerate(people):
            keypoints[number, place] = padded(one, 26)[:, :2]
            scores[number, place] = padded(one, 26)[:, 2]
    np.savez(root / f"{STEM}.npz", keypoints=keypoints, scores=scores)


def coco_images(**more):
    return [
        {"id": 40 + number, "file_name": f"{STEM}/img_{number + 1:05d}.jpg"}
        | {"width": WIDTH, "height": HEIGHT}
        | {name: value(number) for name, value in more.items()}
        for number in range(3)
    ]


def coco_people(order=range(17), **more):
    return [
        {"id": 7 * number + place, "image_id": 40 + number, "category_id": 1}
        | {"keypoints": one[list(order)].ravel().tolist(), "score": one[:, 2].mean()}
        | more
        for number, people in enumerate(FRAMES)
        for place, one in enumerate(people)
    ]


def coco_by_folder(root):
    dump(root / "all.json", {"images": coco_images(), "annotations": coco_people()})
    return root / "all.json"


def coco_by_video_in_another_order(root):
    order = np.random.default_rng(3).permutation(17)
    names = [KEYPOINT_NAMES[joint] for joint in order]
    content = {
        "videos": [{"id": 5, "name": CLIP}],
        "images": coco_images(video_id=lambda number: 5, frame_id=lambda number: number),
        "annotations": coco_people(order),
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    dump(root / f"{STEM}.json", content)


def own(root):
    frames = [people.tolist() for people in FRAMES]
    content = {"fps": 25.0, "width": WIDTH, "height": HEIGHT, "frames": frames}
    dump(root / f"{STEM}.keypoints.json", content)


#: Function that writes FRAMES into a folder, and returns the file if it is a single one -> format.
LAYOUTS = {
    body_25: "openpose",
    body_25_by_clip_id: "openpose",
    coco_18_in_one_folder: "openpose",
    body_25_in_0_to_1: "openpose",
    body_25_around_0: "openpose",
    pyskl: "pyskl",
    pyskl_protocol_5_list: "pyskl",
    pyskl_compressed: "pyskl",
    alphapose: "alphapose",
    alphapose_halpe_136_of_pictures: "alphapose",
    mediapipe_npy: "mediapipe",
    mediapipe_json: "mediapipe",
    mediapipe_objects: "mediapipe",
    ultralytics_labels: "ultralytics",
    ultralytics_with_confidence_and_track: "ultralytics",
    ultralytics_arrays: "ultralytics",
    mmpose_demo: "mmpose",
    mmpose_inferencer_wholebody: "mmpose",
    rtmlib_arrays: "mmpose",
    coco_by_folder: "coco",
    coco_by_video_in_another_order: "coco",
    own: "keypoints",
}


def read(name, path):
    """The keypoints of CLIP, which is found, as another clip is not."""
    source = open_keypoints(name, path)
    assert list(source.names())
    found = source.find(CLIP, VIDEO)
    assert found is not None and source.find("Lunges/absent", "/videos/absent.avi") is None
    return source.read(found)
