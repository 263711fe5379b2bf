import numpy as np
import pytest
import tensorflow as tf
from prepared_clips import write_tiny_dataset

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.input_pipeline.unlabelled import add_unlabelled, is_labelled

CLIP = ClipConfig(6, 24, 32, short_side=28)


def batches(folder, size, *, clip=CLIP, **options):
    return build_dataset(
        folder,
        "train",
        clip=clip,
        streams=["rgb", "pose", "flow"],
        batch_size=size,
        training=True,
        **options,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_tiny_dataset(folder / "one"), write_tiny_dataset(folder / "two", num_classes=2)


def test_a_batch_has_the_clips_of_both_and_the_labels_of_one(folders):
    one, two = batches(folders[0], 4, seed=1), batches(folders[1], 3, seed=2)
    together = list(add_unlabelled(one, two).take(3))
    for batch, first, second in zip(together, one.take(3), two.take(3), strict=True):
        assert batch.keys() == first.keys()
        np.testing.assert_array_equal(batch["label"], [*first["label"], -1, -1, -1])
        for key in set(batch) - {"label"}:
            np.testing.assert_array_equal(batch[key][:4], first[key])
            np.testing.assert_array_equal(batch[key][4:], second[key])
    assert together[0]["rgb"].shape == (7, 6, 24, 32, 3)


def test_replicas_get_equal_shares_of_both(folders):
    def build(folder, size, worker):
        context = tf.distribute.InputContext(2, worker, 2)
        return batches(folder, size, seed=1, input_context=context)

    whole = next(
        iter(add_unlabelled(batches(folders[0], 4, seed=1), batches(folders[1], 2, seed=1)))
    )
    shares = [
        next(iter(add_unlabelled(build(folders[0], 4, w), build(folders[1], 2, w)))) for w in (0, 1)
    ]
    np.testing.assert_array_equal(
        np.concatenate([share["rgb"][:2] for share in shares]), whole["rgb"][:4]
    )
    np.testing.assert_array_equal(
        np.concatenate([share["rgb"][2:] for share in shares]), whole["rgb"][4:]
    )
    assert [list(share["label"].numpy()).count(-1) for share in shares] == [1, 1]


def test_datasets_that_hold_different_things_are_refused(folders):
    one = batches(folders[0], 4)
    with pytest.raises(InputError, match="flow of shape"):
        add_unlabelled(one, batches(folders[1], 4, clip=ClipConfig(6, 24, 24, short_side=28)))
    fewer_people = one.map(lambda batch: {**batch, "boxes": batch["boxes"][:, :, :1]})
    with pytest.raises(InputError, match="boxes of shape .* Prepare both alike"):
        add_unlabelled(one, fewer_people)


def test_labels_of_several_classes_are_unknown_everywhere(folders):
    several = batches(folders[0], 4).map(
        lambda batch: {**batch, "label": tf.one_hot(batch["label"], 5)}
    )
    (batch,) = add_unlabelled(several, batches(folders[1], 3)).take(1)
    assert batch["label"].shape == (7, 5)
    assert (batch["label"][4:] == -1).numpy().all()
    np.testing.assert_array_equal(is_labelled(batch["label"]), [True] * 4 + [False] * 3)
    np.testing.assert_array_equal(is_labelled(tf.constant([2, -1, 0])), [True, False, True])
