"""Files that others publish: fetched, checked, and kept in the cache."""
