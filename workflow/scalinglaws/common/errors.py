"""The one exception for a user's mistake: its text names the key, file or run and says what to do."""


class StudyError(Exception):
    """A user's mistake. The command line prints its text without a traceback and exits with status 1."""
