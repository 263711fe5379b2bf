"""Datasets: which videos there are, what each shows and which split it is in."""
