"""The benchmarks of the engine: one row a claim, each with its goal, its figure and its verdict."""
