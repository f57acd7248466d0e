"""Inference: from slices to probabilities, and from volumes to labels."""
