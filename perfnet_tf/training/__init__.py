"""Training: schedules, runs and their directories."""
