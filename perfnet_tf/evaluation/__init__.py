"""Evaluation: single central crop, late fusion, metrics and reports."""
