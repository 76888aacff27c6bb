"""Training: one loop for classifiers and generators alike."""
