"""From files to files: configuration and the steps of a run."""
