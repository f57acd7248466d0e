"""Data: CT volumes, labelled slices, and the findings that are segmented."""
