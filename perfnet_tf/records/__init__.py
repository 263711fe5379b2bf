"""Records: what `perfnet prepare` writes and everything later reads."""
