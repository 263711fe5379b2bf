"""Training: schedules, callbacks, checkpoints and runs."""
