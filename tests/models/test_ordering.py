import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models.ordering import computed_after


@pytest.mark.parametrize("dtype", [tf.uint8, tf.int32, tf.float32, tf.bfloat16])
@pytest.mark.parametrize("clips", [0, 3])
def test_the_value_stays_what_it_is(dtype, clips):
    value = tf.cast(tf.constant([[0, 1, 255], [7, 128, 3]]), dtype)
    earlier = [tf.random.normal([clips, 4]), tf.constant([[np.inf]], tf.bfloat16)]
    result = computed_after(value, earlier)
    assert result.dtype == dtype
    np.testing.assert_array_equal(tf.cast(result, tf.float32), tf.cast(value, tf.float32))
    assert computed_after(value, []) is value


def test_no_compiler_merges_or_reorders_what_comes_after():
    def step(inputs, *, ordered):
        first = tf.nn.tanh(inputs)
        again = computed_after(inputs, [first]) if ordered else inputs
        return first, tf.nn.tanh(again)

    counts = {}
    for ordered in (False, True):
        function = tf.function(step, autograph=False, jit_compile=True)
        text = function.experimental_get_compiler_ir(tf.zeros([64]), ordered=ordered)(
            stage="optimized_hlo"
        )
        counts[ordered] = text.count(" tanh(")
    assert counts == {False: 1, True: 2}
