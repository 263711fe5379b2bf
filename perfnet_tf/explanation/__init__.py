"""Where networks look: Grad-CAM over a video or a stored clip, and its picture."""
