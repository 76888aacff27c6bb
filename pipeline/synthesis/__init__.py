"""Synthetic images: how they were made, and what became of all that were drawn."""
