"""The `--url` option every user command has, and the client behind it."""

from typing import Annotated

import typer

from client.retry import RetryPolicy
from client.sync import Client

DEFAULT_URL = "http://127.0.0.1:8000"

QUESTION_ATTEMPTS = 5
"""For commands that ask something, about 4 s at most: a person waits. Uploads have more patience."""

Url = Annotated[str, typer.Option("--url", envvar="SLUICE_URL", help="Where the gateway answers.")]


def connect(url: str) -> Client:
    """A client for one short question."""
    return Client(url, retry=RetryPolicy(attempts=QUESTION_ATTEMPTS))
