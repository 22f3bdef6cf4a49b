"""Batch jobs: a file of several steps, checked whole before the first request, then worked off side by side."""
