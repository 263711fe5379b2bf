"""Trained networks, whatever they are stored as: `load` gives a `Recognizer` of each.

A run folder, an export of this package, any other SavedModel, a TF Hub or Kaggle handle, a Keras
model and a function all become one type, which every command takes.
"""
