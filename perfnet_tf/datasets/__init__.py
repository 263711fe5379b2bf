"""Datasets: which videos there are, and the tf.data pipeline from records to batches."""
