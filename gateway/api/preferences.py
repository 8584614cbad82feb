"""What a client would like (RFC 7240): `Prefer: wait=20` holds the answer until the job has ended, or for 20 s."""

from __future__ import annotations

import re

from fastapi import Request, Response

_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)


def preferred_wait(request: Request) -> int:
    """Seconds (section 4.3); 0 where none are asked for. Of several the first counts (section 2); what cannot be read
    is passed over."""
    for value in request.headers.getlist("prefer"):
        for preference in value.split(","):
            found = _WAIT.fullmatch(preference.partition(";")[0].strip())
            if found is not None:
                return int(found[1])
    return 0


def applied_wait(response: Response, seconds: float) -> None:
    """Say how far it was honoured (section 3)."""
    if seconds >= 1:
        response.headers["Preference-Applied"] = f"wait={int(seconds)}"
