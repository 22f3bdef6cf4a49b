"""What it costs to know whether a text was seen before, and whether the answer is right."""
