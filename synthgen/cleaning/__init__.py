"""Rows of files that are read, judged and written again as they stand: what dedup and decontaminate share."""
