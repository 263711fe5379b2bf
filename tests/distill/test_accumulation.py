import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny_network
from small_batches import CLASSES, LinearStudent, flow_teacher, make_batch, pose_teacher

from perfnet_tf.config import DistillConfig, ModelConfig, TrainConfig
from perfnet_tf.distill.accumulation import Share, accumulate, micro_batch
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError

OPTIMIZERS = {
    "sgd": lambda: tf_keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5),
    "adam": lambda: tf_keras.optimizers.Adam(0.01),
}


@pytest.fixture
def batch():
    """Eight clips, of which the last two have no labels."""
    return make_batch([2, 0, 3, 1, 1, 0, -1, -1])


def built(stream="rgb", seed=0):
    config = ModelConfig("tiny", dropout_rate=0.0, weight_decay=0.1, options={"batch_norm": False})
    model = tiny_network.build_tiny(config, CLASSES, stream)
    tiny_network.fixed_weights(model, seed)
    return model


def trained(batch, optimizer, teachers=None, **options):
    """Weights, optimizer's state and metrics after three steps as one graph call."""
    teachers = teachers or {"flow": flow_teacher, "pose": pose_teacher()}
    distiller = Distiller(built(), teachers, **options)
    distiller.compile(OPTIMIZERS[optimizer](), steps_per_execution=3)
    data = tf.data.Dataset.from_tensors(batch).repeat(3)
    metrics = distiller.fit(data, steps_per_epoch=3, verbose=0).history
    variables = [*distiller.student.variables, *distiller.optimizer.variables]
    return [variable.numpy() for variable in variables], metrics


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_in_micro_batches_are_those_of_the_whole_batch(batch, optimizer):
    """Two teachers, clips without labels, class weights, smoothed labels, clipped gradients."""
    options = {"class_weights": [0.5, 2.0, 1.0, 1.5], "label_smoothing": 0.2}
    whole, metrics = trained(batch, optimizer, **options)
    for parts in (2, 4):
        values, others = trained(batch, optimizer, accumulate=parts, **options)
        for one, other in zip(whole, values, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-6)
        assert others.keys() == metrics.keys()
        for name, value in metrics.items():
            assert others[name] == pytest.approx(value, rel=1e-5), name


def test_features_of_micro_batches_are_those_of_the_whole_batch(batch):
    teachers = {stream: built(stream, seed) for seed, stream in ((1, "flow"), (2, "pose"))}
    loss = DistillConfig(teacher_weights={"flow": 0.3, "pose": 0.7}, feature_weight=5.0)
    whole, metrics = trained(batch, "sgd", teachers=teachers, loss=loss)
    values, others = trained(batch, "sgd", teachers=teachers, loss=loss, accumulate=4)
    for one, other in zip(whole, values, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    assert others == {name: pytest.approx(value, rel=1e-5) for name, value in metrics.items()}
    without = DistillConfig(teacher_weights=loss.teacher_weights)
    assert "feature_mse_flow" not in trained(batch, "sgd", teachers=teachers, loss=without)[1]


def test_a_micro_batch_takes_every_nth_clip():
    values = tf.reshape(tf.range(12), [6, 2])
    np.testing.assert_array_equal(micro_batch(values, tf.constant(1), 3), [[2, 3], [8, 9]])
    with pytest.raises(InputError, match="a batch of 6 clips on a device, for `accumulate`=4"):
        micro_batch(values, tf.constant(0), 4)


@pytest.mark.parametrize("unrolled", [False, True])
def test_shares_are_summed_in_float32_and_logits_keep_the_order(unrolled):
    variables = [tf.Variable([1.0, 2.0]), tf.Variable(3.0)]

    @tf.function
    def whole(values):
        def share_of(part):
            own = micro_batch(values, part, 3)  # [2, 1]
            total = tf.reduce_sum(own)
            # bfloat16 has eight bits: the sum 1 + 256 would be lost in it.
            gradient = tf.cast(tf.stack([total, 1.0]), tf.bfloat16)
            return Share([gradient, None], {"loss": total}, own)

        return accumulate(share_of, 3, variables, ["loss"], unrolled=unrolled)

    share = whole(tf.constant([[256.0], [1.0], [2.0], [0.0], [0.0], [0.0]]))
    np.testing.assert_array_equal(share.gradients[0], [259.0, 3.0])
    assert share.gradients[0].dtype == tf.float32 and share.gradients[1] is None
    assert float(share.terms["loss"]) == 259.0
    np.testing.assert_array_equal(share.logits[:, 0], [256, 1, 2, 0, 0, 0])


def test_a_step_in_micro_batches_compiles_under_xla(batch):
    results = []
    for jit_compile in (False, True):
        network = built()
        distiller = Distiller(network, {"flow": flow_teacher}, accumulate=4, mixup=0.4, seed=3)
        distiller.compile(tf_keras.optimizers.SGD(0.1))
        distiller.optimizer.build(network.trainable_variables)
        tf.function(distiller.train_step, jit_compile=jit_compile)(batch)
        results.append(network.get_weights())
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-5)


def test_a_student_without_weights_is_refused(batch):
    distiller = Distiller(LinearStudent(), accumulate=2)
    distiller.compile(tf_keras.optimizers.SGD(0.1))
    with pytest.raises(InputError, match="Build it, or call it once"):
        distiller.train_step(batch)


def test_micro_batches_divide_the_batch():
    assert TrainConfig(batch_size=12, accumulate=4).micro_batch_size == 3
    with pytest.raises(InputError, match="`accumulate`=5, `batch_size`=12. Take a batch that is a"):
        TrainConfig(batch_size=12, accumulate=5)
    with pytest.raises(InputError, match="`accumulate` must be greater than 0"):
        TrainConfig(accumulate=0)
