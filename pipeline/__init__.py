"""Counterweight's pipeline: completes image data sets and proves whether that helped."""
