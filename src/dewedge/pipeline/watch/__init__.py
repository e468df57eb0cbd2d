"""Folders that are watched, where tilt series arrive one after another."""
