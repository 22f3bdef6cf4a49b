"""Stands where vLLM would: for tests of who starts it, waits for it and stops it."""
