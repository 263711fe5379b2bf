"""Videos as RGB frames at a chosen frame rate and size."""
