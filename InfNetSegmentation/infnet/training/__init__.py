"""Training: losses, the Lightning modules, recipes, cross-validation."""
