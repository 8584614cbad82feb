"""botocore's descriptions of services, without what a process of ours never reads.

botocore keeps what it has parsed for as long as a client lives: the endpoints of 300 services, and texts for people. Of
the 12 MiB that a client took, 4 are left.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from botocore.loaders import JSONFileLoader

USED = frozenset({"s3", "sts", "sso", "portal.sso", "oidc", "signin"})
"""Ours, and those that credentials may come from. A service that is not listed has its usual address."""


FORMS = ((".json", open), (".json.gz", gzip.open))


class LeanFiles(JSONFileLoader):
    """Reads the files that botocore brings."""

    def load_file(self, file_path: str) -> dict[str, Any] | None:
        """What is in the file, whose ending is not in `file_path`; None where there is none."""
        for ending, opened in FORMS:
            try:
                with opened(file_path + ending, "rb") as file:
                    return _with_our_services(json.loads(file.read(), object_pairs_hook=_without_texts))
            except FileNotFoundError:
                continue
        return None


def _with_our_services(found: dict[str, Any]) -> dict[str, Any]:
    """Without the endpoints of all others."""
    for partition in found.get("partitions", ()):
        if "services" in partition:
            partition["services"] = {name: told for name, told in partition["services"].items() if name in USED}
    return found


def _without_texts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A plain dict: it keeps the order as well, and takes half of what botocore's ordered ones do."""
    found = dict(pairs)
    if isinstance(found.get("documentation"), str):
        found["documentation"] = ""  # botocore asks for some of them
    return found
