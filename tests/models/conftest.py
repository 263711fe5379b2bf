import pathlib
import sys

import pytest
import tf_keras

# Slow references that several rooms share.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "reference"))


@pytest.fixture
def mixed_bfloat16():
    """The Keras policy of TPU training, for one test."""
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(autouse=True)
def seeded():
    tf_keras.utils.set_random_seed(17)
