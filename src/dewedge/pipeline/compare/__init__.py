"""Several methods on one input, and their comparison."""
