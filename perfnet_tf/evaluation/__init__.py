"""Accuracy on prepared records: one central crop or several views, late fusion, metrics."""
