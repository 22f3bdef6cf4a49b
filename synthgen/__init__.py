"""From seeds to a dataset: synthetic instruction data on any model server."""

__version__ = "0.1.0"
