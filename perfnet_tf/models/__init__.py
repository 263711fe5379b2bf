"""Backbones: R3D50-G (PERF-Net Table 1) and S3D-G."""

#: Under this name Keras registers layers.
PACKAGE = "perfnet_tf"
