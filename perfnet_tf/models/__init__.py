"""Backbones: R3D50-G (PERF-Net Table 1) and S3D-G."""
