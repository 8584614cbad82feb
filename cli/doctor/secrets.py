"""What must not be printed of the words of others.

Our own lines are built from parts of the addresses, never from whole ones, and so need no cleaning: a password that is
a word of them, `sluice` or `5432`, would only make them unreadable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from common.names import address_of
from common.settings import Settings

HIDDEN = "***"
SHORTEST = 6  # characters; a shorter password, or one of letters only, cannot be told from a word of the sentence
_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_USER_IN_URL = re.compile(r"://[^\s/]*@")


@dataclass(frozen=True, slots=True)
class Secrets:
    """`urls` as they are set; `words` that are secrets wherever they stand."""

    urls: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str] = os.environ) -> Secrets:
        urls = (settings.database.database_url, settings.redis.redis_url)
        found = [urlsplit(url).password for url in urls] + [environ.get(name) for name in _VARIABLES]
        forms = {form for secret in found if secret for form in (secret, unquote(secret))}
        return cls(urls, tuple(sorted(filter(_is_telling, forms), key=len, reverse=True)))

    def hidden_in(self, text: str) -> str:
        """The text with addresses that have no user or password, and without the secrets that are no words."""
        for url in self.urls:
            text = text.replace(url, address_of(url))
        text = _USER_IN_URL.sub(f"://{HIDDEN}@", text)
        for word in self.words:
            text = text.replace(word, HIDDEN)
        return text


def _is_telling(secret: str) -> bool:
    return len(secret) >= SHORTEST and not secret.isalpha() and not secret.isdigit()
