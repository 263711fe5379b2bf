"""Optical flow: TV-L1 and DIS, and its storage and colours."""
