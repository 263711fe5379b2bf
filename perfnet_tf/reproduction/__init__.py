"""The paper's tables: the networks each needs, their trainings, and the results."""
