"""What a person can do about an error; said after the error itself, on the same line."""

from client.errors import SluiceApiError, SluiceConnectionError

_WHERE_IDS_ARE = {"file_not_found": "`sluice ls` lists the files", "job_not_found": "`sluice jobs` lists the jobs"}


def advice(error: Exception) -> str:
    """What follows the message, with its punctuation; nothing where the message says it all."""
    if isinstance(error, SluiceConnectionError):
        return ". Is the gateway running there (--url)?"
    if isinstance(error, SluiceApiError) and error.code in _WHERE_IDS_ARE:
        return f"; {_WHERE_IDS_ARE[error.code]}"
    return ""
