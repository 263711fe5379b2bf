import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A prepared dataset of 15 training clips in 3 classes, with flow and pose."""
    from prepared_clips import write_tiny_dataset

    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")
