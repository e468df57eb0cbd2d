"""The page of a run: its viewer, figures and tables, and the index of several."""
