"""Optical flow: TV-L1, and how flow is stored and shown."""
