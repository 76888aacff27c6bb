"""Commands that are no stages: `python -m pipeline COMMAND`."""
