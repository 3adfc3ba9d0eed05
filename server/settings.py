"""What an operator sets, read from the environment once, at start."""


class StartError(Exception):
    """Why the server cannot start: one sentence that says what to do about it."""
