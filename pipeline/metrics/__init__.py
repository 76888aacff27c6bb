"""Measures of imbalance, of classifiers, and of whether the completed data helped."""
