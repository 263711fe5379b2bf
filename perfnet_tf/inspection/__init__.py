"""What a prepared dataset holds: single clips, their pictures, and statistics."""
