"""What is uneven about a data set: one small pure function a measure, one file a kind of measure."""

from pipeline.metrics.bias.histogram import Counts, effective_number, entropy, gini, groups, imbalance_ratio

__all__ = ["Counts", "effective_number", "entropy", "gini", "groups", "imbalance_ratio"]
