"""The one exception for a user's mistake: its text names the key, file or run and says what to do."""


class StudyError(Exception):
    """Printed as one message without a traceback by ``python -m scalinglaws``, which then exits with 1."""
