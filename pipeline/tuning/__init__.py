"""Chooses how much to synthesise, and how, by cross-validation on real training images."""
