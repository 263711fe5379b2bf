"""Pickles of plain data and NumPy arrays: read without unpickling them, and written."""
