"""Networks: R3D50-G (PERF-Net Table 1), S3D-G, I3D, and importers of published weights."""

#: Under this name Keras registers layers.
PACKAGE = "perfnet_tf"
