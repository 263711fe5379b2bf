"""Public datasets and folders: which videos there are, their classes and their splits."""
