"""Network, loss, sampling, fit and refinement."""
