"""Volumes of the findings."""
