import dataclasses

import numpy as np
import pytest
from pose_decoding import decode
from pose_fields import ideal_fields, standing_person

from perfnet_tf.pose.estimators.posenet_decoder import DecoderParams, PoseFields, decode_poses

HEIGHT, WIDTH = 257, 401


def random_fields(seed, rows=9, cols=14):
    rng = np.random.default_rng(seed)
    return PoseFields(
        *(
            rng.normal(0, scale, (rows, cols, channels)).astype(np.float32)
            for channels, scale in ((17, 2.0), (34, 8.0), (32, 30.0), (32, 30.0))
        )
    )


def test_people_of_perfect_fields_come_out_where_they_stand():
    people = np.stack(
        [
            standing_person(90.3, 50.7, 190.0, 0.8),
            standing_person(290.6, 42.2, 200.0, 0.95),
        ]
    )
    found = decode_poses(ideal_fields(people, HEIGHT, WIDTH), 16, 5, DecoderParams())
    assert found.shape == (2, 17, 3)
    np.testing.assert_allclose(found[..., :2], people[::-1, :, :2], atol=1e-3)  # best first
    np.testing.assert_allclose(found[..., 2], people[::-1, :, 2], atol=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_slow_reference(seed):
    fields = random_fields(seed)
    params = DecoderParams(root_score=0.7, min_pose_score=0.3, refinement_steps=seed)
    found = decode_poses(fields, 16, 5, params)
    assert len(found)
    np.testing.assert_allclose(found, decode(fields, 16, params), atol=1e-6)


def test_a_frame_without_people_gives_none():
    fields = ideal_fields(standing_person(90, 50, 190)[None], HEIGHT, WIDTH)
    empty = dataclasses.replace(fields, heatmap=np.full_like(fields.heatmap, -9))
    assert decode_poses(empty, 16, 5, DecoderParams()).shape == (0, 17, 3)


def test_weak_people_are_dropped_and_places_are_limited():
    people = np.stack([standing_person(70, 50, 190, 0.9), standing_person(230, 50, 190, 0.55)])
    fields = ideal_fields(people, HEIGHT, WIDTH)
    assert len(decode_poses(fields, 16, 5, DecoderParams())) == 2
    assert len(decode_poses(fields, 16, 5, DecoderParams(min_pose_score=0.6))) == 1
    assert len(decode_poses(fields, 16, 5, DecoderParams(root_score=0.6))) == 1
    np.testing.assert_allclose(
        decode_poses(fields, 16, 1, DecoderParams())[0, :, :2], people[0, :, :2], atol=1e-3
    )


def test_keypoints_stay_on_the_picture():
    found = decode_poses(random_fields(7), 16, 5, DecoderParams(min_pose_score=0.0))
    assert found[..., 0].min() >= 0 and found[..., 0].max() <= 13 * 16
    assert found[..., 1].min() >= 0 and found[..., 1].max() <= 8 * 16
    assert found[..., 2].min() >= 0 and found[..., 2].max() <= 1
