"""Is it right? Numbers, dates, names and negations of a text, and whether two texts contradict each other."""
