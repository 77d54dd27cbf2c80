"""From verified pairs to a dataset: samples, folders, dataset card."""
