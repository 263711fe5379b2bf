"""Generated videos of moving figures, for demonstrations and tests."""
