"""What commands say of errors."""


def explain(error: BaseException) -> str:
    """The error with its cause: only users of this machine read it."""
    said, cause = str(error), str(error.__cause__ or "")
    return cause if cause.startswith(said) else f"{said}: {cause}" if cause else said
