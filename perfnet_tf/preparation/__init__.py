"""From videos to records: the work behind `perfnet prepare`."""
