import numpy as np

from perfnet_tf.streams import Stream


def test_values_of_both_signs_are_drawn_with_zero_in_the_middle():
    stream = Stream("toy", "toy", 1, ("rgb",), normalize=lambda values: values)
    signed = np.array([-1.0, 0.0, 0.5], np.float32).reshape(1, 1, 3, 1)
    drawn = stream.draw(signed)
    assert drawn.shape == (1, 1, 3, 3) and drawn.dtype == np.uint8
    assert drawn[0, 0, :, 0].tolist() == [0, 128, 191]
    # The same value has the same grey whatever the other sign reaches.
    assert stream.draw(-signed)[0, 0, :, 0].tolist() == [255, 128, 64]


def test_values_of_one_sign_take_all_levels_of_grey():
    stream = Stream("toy", "toy", 1, ("rgb",), normalize=lambda values: values)
    drawn = stream.draw(np.array([2.0, 3.0, 4.0], np.float32).reshape(1, 1, 3, 1))
    assert drawn[0, 0, :, 0].tolist() == [0, 128, 255]
