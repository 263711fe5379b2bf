"""From records to batches: the `tf.data` pipeline and its augmentation."""
