"""One separable convolution against the full one that it replaces."""

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.layers import ConvUnit
from perfnet_tf.transfer.separation import Places, separate
from perfnet_tf.transfer.stages import look_at

EPSILON = 1e-3
CHANNELS, FILTERS = 6, 8


def smooth_clips(generator, shape):
    """Maps that neighbours resemble, as activations do, behind a ReLU."""
    maps = generator.normal(size=shape)
    for axis in (1, 2, 3):
        maps = maps + np.roll(maps, 1, axis) + np.roll(maps, -1, axis)
    return np.maximum(maps, 0).astype(np.float32)


def full_answers(maps, kernel):
    return tf.nn.conv3d(maps, kernel, [1] * 5, "SAME").numpy()


def places_of(maps, kernel, generator, count=4000):
    return look_at(maps, full_answers(maps, kernel), count, generator)


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def separable_kernel(generator, rank):
    """A 3x3x3 kernel that a spatial and a temporal one of `rank` channels make up exactly."""
    spatial = generator.normal(size=(3, 3, CHANNELS, rank))
    temporal = generator.normal(size=(3, rank, FILTERS))
    return np.einsum("yxcm,tmf->tyxcf", spatial, temporal).astype(np.float32) / 10


def fit(maps, kernel, generator, **options):
    half = len(maps) // 2
    first, second = (places_of(part, kernel, generator) for part in (maps[:half], maps[half:]))
    return separate(kernel, first, second, epsilon=EPSILON, **options), first, second


def test_places_hold_what_the_full_convolution_sees(generator):
    maps = smooth_clips(generator, (3, 4, 6, 5, CHANNELS))
    kernel = generator.normal(size=(3, 3, 3, CHANNELS, FILTERS)).astype(np.float32)
    places = places_of(maps, kernel, generator, count=10_000)  # more than there are: all
    assert len(places.targets) == 3 * 4 * 6 * 5
    answers = places.windows.reshape(len(places.windows), -1) @ kernel.reshape(-1, FILTERS)
    np.testing.assert_allclose(answers, places.targets, rtol=1e-4, atol=1e-4)
    # A quarter of the places is in the first frame, a quarter in the last one of four.
    np.testing.assert_array_equal(places.inside.mean(axis=0), [0.75, 1, 0.75])
    assert not places.windows[~places.inside].any()


def test_a_kernel_of_fitting_rank_is_kept_on_clips_that_were_not_fitted_to(generator):
    maps = smooth_clips(generator, (8, 6, 10, 10, CHANNELS))
    fitted, seen, unseen = fit(maps, separable_kernel(generator, FILTERS), generator)
    assert seen.missed(fitted.answers(seen, EPSILON)) < 0.02
    assert unseen.missed(fitted.answers(unseen, EPSILON)) < 0.02


def test_it_beats_the_factorisation_that_knows_neither_clips_nor_relu(generator):
    maps = smooth_clips(generator, (8, 6, 10, 10, CHANNELS))
    kernel = generator.normal(size=(3, 3, 3, CHANNELS, FILTERS)).astype(np.float32)
    fitted, _, unseen = fit(maps, kernel, generator)
    matrix = kernel.transpose(1, 2, 3, 0, 4).reshape(9 * CHANNELS, 3 * FILTERS)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    nearest = (left[:, :FILTERS] * values[:FILTERS]) @ right[:FILTERS]
    linear = nearest.reshape(3, 3, CHANNELS, 3, FILTERS).transpose(3, 0, 1, 2, 4)
    answers = unseen.windows.reshape(len(unseen.windows), -1) @ linear.reshape(-1, FILTERS)
    assert unseen.missed(fitted.answers(unseen, EPSILON)) < 0.7 * unseen.missed(answers)


def test_the_layers_answer_as_the_fit_says(generator):
    """`ConvUnit`s with the weights, run over whole maps, first and last frames included."""
    maps = smooth_clips(generator, (4, 4, 8, 8, CHANNELS))
    fitted, _, unseen = fit(maps, separable_kernel(generator, FILTERS), generator)
    norm = BatchNormOptions(0.999, EPSILON, scale=False)
    spatial = ConvUnit(FILTERS, (1, 3, 3), batch_norm=norm)
    temporal = ConvUnit(FILTERS, (3, 1, 1), batch_norm=None)
    temporal(spatial(maps))
    spatial.conv.kernel.assign(fitted.spatial)
    spatial.norm.moving_mean.assign(fitted.mean)
    spatial.norm.moving_variance.assign(fitted.variance)
    spatial.norm.beta.assign(fitted.beta)
    temporal.conv.kernel.assign(fitted.temporal)
    temporal.conv.bias.assign(fitted.bias)
    answers = temporal(spatial(maps[2:])).numpy()
    every = look_at(maps[2:], answers, 10_000, np.random.default_rng(0))
    expected = np.maximum(fitted.answers(every, EPSILON), 0)
    np.testing.assert_allclose(every.targets, expected, rtol=1e-3, atol=1e-3)


def test_too_few_places_are_an_error_that_says_how_many_it_takes(generator):
    maps = smooth_clips(generator, (1, 2, 3, 3, CHANNELS))
    kernel = separable_kernel(generator, FILTERS)
    few = places_of(maps, kernel, generator)
    with pytest.raises(InputError, match="takes more than 24 places. Received: 18.*`places`"):
        separate(kernel, few, few, epsilon=EPSILON)


def test_places_that_never_answer_are_missed_by_nothing(generator):
    silent = Places(np.zeros((4, 3, 54)), np.ones((4, 3), bool), -np.ones((4, 8), np.float32))
    assert silent.missed(-np.ones((4, 8))) == 0
