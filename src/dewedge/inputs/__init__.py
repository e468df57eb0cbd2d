"""Inputs of a verb, opened and found usable."""
