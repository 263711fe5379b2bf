"""The paper's tables: which networks each needs, their trainings, and ours beside the paper's."""
