"""Videos: any file OpenCV reads, as RGB frames at the wanted rate and size."""
