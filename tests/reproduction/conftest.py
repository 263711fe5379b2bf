import pytest


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A prepared dataset of 15 training clips in 3 classes, with flow and pose."""
    from prepared_clips import write_tiny_dataset

    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def tiny_networks(monkeypatch):
    """Runs train and load a network of one convolution."""
    from tiny_network import build_tiny

    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import start

    monkeypatch.setattr(start, "build_from_config", build_tiny)
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
