import importlib
import sys

import pytest


@pytest.fixture
def slim_layers(monkeypatch):
    """`tf_slim`, whose batch norm asks for a module that tf_keras has moved."""
    for name in ("", ".base", ".normalization", ".convolutional", ".core", ".pooling"):
        moved = importlib.import_module(f"tf_keras.src.legacy_tf_layers{name}")
        monkeypatch.setitem(sys.modules, f"tf_keras.legacy_tf_layers{name}", moved)
    return importlib.import_module("tf_slim")
