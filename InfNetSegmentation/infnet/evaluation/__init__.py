"""Evaluation: how well a prediction agrees with a truth."""
