"""Optical flow: TV-L1, DIS and registered methods; its storage and colours."""
