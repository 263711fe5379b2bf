import pytest


@pytest.fixture
def tiny_networks(monkeypatch):
    """Runs train and load a network of one convolution."""
    from tiny_network import build_tiny

    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import start

    monkeypatch.setattr(start, "build_from_config", build_tiny)
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
