"""From numbers to words: categories, the rulers that assign them, and their phrases in five languages."""
