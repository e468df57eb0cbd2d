"""The one exception that stands for a mistake in the user's input."""


class InputError(Exception):
    """Input that cannot be used.

    The message is one line: what was expected, what came, in which file, and what to do.
    The command line prints it and exits with a non-zero status, without a traceback.
    """
