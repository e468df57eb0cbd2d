"""Settings: sections of a configuration, their files, and recipes."""
