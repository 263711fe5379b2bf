import distill_reference as reference
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_batches import CLASSES, LinearStudent, flow_teacher, make_batch, pose_teacher

from perfnet_tf.config import DistillConfig, TrainConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.distill.mixup import (
    MixedLabels,
    by_label,
    draw_mixing,
    draw_partners,
    draw_shares,
    mix,
    step_seed,
)
from perfnet_tf.errors import InputError
from perfnet_tf.pose.rendering import render_pose

LABELS = [2, 0, 3, 1, 1, 0]
SEVERAL = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_shares_have_the_beta_distribution(alpha):
    shares = draw_shares(tf.constant(20000), alpha, tf.constant([1, 2])).numpy()
    assert np.all((shares >= 0) & (shares <= 1))
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    drawn = np.random.default_rng(0).beta(alpha, alpha, 20000)
    for level in (0.01, 0.1, 0.3, 0.7, 0.9, 0.99):
        assert (shares < level).mean() == pytest.approx((drawn < level).mean(), abs=0.02)


def test_partners_are_permutations_of_clips_with_and_of_those_without_labels():
    labels = tf.constant([3, -1, 0, -1, 2, 1, -1])
    known = [0, 2, 4, 5]
    partners = [draw_partners(labels, tf.constant([0, i])).numpy() for i in range(40)]
    for each in partners:
        assert sorted(each[known]) == known and sorted(each[[1, 3, 6]]) == [1, 3, 6]
    assert len({tuple(each) for each in partners}) > 20
    several = tf.constant([[1.0, 0], [-1, -1], [0, 1], [-1, -1]])
    assert sorted(draw_partners(several, tf.constant([0, 1])).numpy()[[1, 3]]) == [1, 3]


def test_uint8_is_rounded_and_flow_is_not():
    share = tf.constant([0.25, 1.0])
    frames, others = (
        tf.constant([[100, 7], [5, 6]], tf.uint8),
        tf.constant([[201, 8]] * 2, tf.uint8),
    )
    mixed = mix(frames, others, share)
    assert mixed.dtype == tf.uint8
    np.testing.assert_array_equal(mixed, [[176, 8], [5, 6]])  # 175.75 and 7.75
    flow = mix(tf.constant([[-4.0], [2.0]]), tf.constant([[8.0], [8.0]]), share)
    np.testing.assert_allclose(flow, [[5.0], [2.0]])


def mixed_by_hand(batch, seed, alpha):
    """Partner and share of each clip, and the clips that networks see, by NumPy."""
    mixing = draw_mixing(batch, batch["label"], alpha, step_seed(seed, tf.constant(0, tf.int64)))
    rgb = batch["rgb"].numpy()
    partners = [
        next(i for i, clip in enumerate(rgb) if np.array_equal(clip, other))
        for other in mixing.others["rgb"].numpy()
    ]
    share = mixing.share.numpy()
    drawn = render_pose(rgb, batch["keypoints"], batch["boxes"], pose_teacher().render).numpy()
    clips = {"rgb": rgb, "pose": drawn, "flow": batch["flow"].numpy()}
    mixed = {}
    for name, values in clips.items():
        weight = share.reshape(-1, 1, 1, 1, 1)
        mixed[name] = weight * values + (1 - weight) * values[partners]
        if name != "flow":
            mixed[name] = np.rint(mixed[name]).astype(np.uint8)
    return partners, share, mixed


def slow_cross_entropy(logits, labels, partners, share):
    total = 0.0
    for row, label, partner, weight in zip(logits, labels, partners, share, strict=True):
        for target, factor in ((label, weight), (labels[partner], 1 - weight)):
            if np.ndim(target):
                total += factor * reference.sigmoid_cross_entropy(row, np.asarray(target))
            else:
                total += factor * reference.cross_entropy(row[None], [target])
    return total / len(logits)


@pytest.mark.parametrize("labels", [LABELS, SEVERAL], ids=["one_label", "several"])
def test_a_step_goes_down_the_gradient_of_mixed_clips(labels):
    """All networks see the same mixture; labels are mixed by the same shares."""
    batch, seed, alpha = make_batch(labels), 11, 0.8
    partners, share, mixed = mixed_by_hand(batch, seed, alpha)
    assert partners != list(range(6)) and np.ptp(share) > 0.1
    student, pose = LinearStudent(), pose_teacher()
    student(batch["rgb"])
    teachers = {"flow": flow_teacher, "pose": pose}
    distiller = Distiller(student, teachers, mixup=alpha, seed=seed)
    distiller.compile(tf_keras.optimizers.SGD(1.0))
    color = mixed["rgb"].astype(np.float64).mean(axis=(1, 2, 3)) / 255
    targets = [
        flow_teacher(tf.constant(mixed["flow"], tf.float32)).numpy(),
        pose.predict(tf.constant(mixed["pose"])).numpy(),
    ]

    def slow(weights):
        logits = color @ weights[:-1] + weights[-1]
        entropy = slow_cross_entropy(logits, labels, partners, share)
        return entropy + sum(reference.mean_squared_error(t, logits) for t in targets)

    def weights():
        kernel, bias = (v.numpy() for v in student.trainable_variables)
        return np.concatenate([kernel, bias[None]])

    before = weights()
    metrics = distiller.train_step(batch)
    assert float(metrics["loss"]) == pytest.approx(slow(before), rel=1e-5)
    np.testing.assert_allclose(before - weights(), reference.gradient(slow, before), atol=1e-5)


def test_accuracy_in_training_is_the_share_of_the_labels_that_are_named():
    # Logits name class 1: of the first clip 0.7 is of class 1, of the second 0.4.
    labels = MixedLabels(tf.constant([1, 0]), tf.constant([2, 1]), tf.constant([0.7, 0.6]))
    right = by_label(labels, lambda each: tf.cast(each == 1, tf.float32))
    np.testing.assert_allclose(right, [0.7, 0.4])
    batch = make_batch(LABELS)
    _, share, _ = mixed_by_hand(batch, 11, 0.8)
    student = LinearStudent()
    student(batch["rgb"])
    student.dense.bias.assign([0.0, 0.0, 9.0, 0.0])  # class 2 for every clip: only the first's
    distiller = Distiller(student, mixup=0.8, seed=11)
    distiller.compile(tf_keras.optimizers.SGD(0.0))
    partners = mixed_by_hand(batch, 11, 0.8)[0]
    expected = (share[0] + 1 - share[partners.index(0)]) / 6
    assert float(distiller.train_step(batch)["top1"]) == pytest.approx(expected, rel=1e-5)


def test_draws_follow_from_seed_and_step_and_evaluation_is_not_mixed():
    batch = make_batch(LABELS)

    def losses(seed, steps=2, accumulate=1):
        student = LinearStudent()
        student(batch["rgb"])
        student.set_weights([np.full((3, CLASSES), 0.3), np.arange(4.0)])
        distiller = Distiller(student, mixup=0.8, seed=seed, accumulate=accumulate)
        distiller.compile(tf_keras.optimizers.SGD(0.0))
        found = []
        for _ in range(steps):
            distiller.reset_metrics()
            found.append(float(distiller.train_step(batch)["loss"]))
        distiller.reset_metrics()
        return found, float(distiller.test_step(batch)["loss"])

    (one, other), evaluated = losses(seed=1)
    assert losses(seed=1) == ([one, other], evaluated) and one != other
    assert losses(seed=2)[0] != [one, other] and losses(seed=2)[1] == evaluated
    # A step in micro-batches mixes the same pairs.
    assert losses(seed=1, accumulate=3)[0] == pytest.approx([one, other], rel=1e-6)


def test_mixing_is_refused_where_it_cannot_be():
    with pytest.raises(InputError, match="`mixup`=0.2, and teachers that are computed once"):
        Distiller(LinearStudent(), {"flow": flow_teacher}, mixup=0.2, logits_in_batch=True)
    with pytest.raises(InputError, match="`mixup` must be 0 or greater"):
        TrainConfig(mixup=-0.1)


def test_confidence_of_a_teacher_is_in_both_labels():
    # Softmax of (log 3, 0) is (3/4, 1/4): 0.6 * 3/4 + 0.4 * 1/4 = 0.55.
    from perfnet_tf.distill.losses import distillation_losses

    labels = MixedLabels(tf.constant([0]), tf.constant([1]), tf.constant([0.6]))
    logits = {"flow": tf.constant([[np.log(3.0), 0.0]], tf.float32)}
    config = DistillConfig(clip_weights="confidence")
    terms = distillation_losses(labels, tf.zeros([1, 2]), logits, config, 1)
    assert float(terms["mse_flow"]) == pytest.approx(0.55 * np.log(3.0) ** 2 / 2, rel=1e-6)
    assert float(terms["cross_entropy"]) == pytest.approx(np.log(2), rel=1e-6)
