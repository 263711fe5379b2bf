"""What one network knows, in another architecture: I3D's full kernels as S3D-G's separable ones."""
