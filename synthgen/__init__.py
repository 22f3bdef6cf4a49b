"""From seeds to a dataset: synthetic instruction data on any model server."""
