"""Distillation: PERF-Net Sec. 3.3."""
