"""Lungs and lobes: where the infection is looked for, and what it is a share of."""
