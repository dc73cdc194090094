"""How a yes-or-no question is put to a chat model, and how its reply is read."""

from __future__ import annotations

import re

YES_NO_REQUEST = "{question} Answer yes or no."
"""What a chat model is asked; the judges that were made for questions get the question alone."""

_YES_NO = re.compile(r"\W*(yes|no)\s*(?:[^\w\s]|$)", re.IGNORECASE)


def yes_or_no(reply: str) -> str:
    """Return "yes" or "no" if a reply begins with that word and a stop or comma, or is nothing else.

    Anything else is returned as it is, without spaces around it: a scorer counts it as unparsed.
    """
    found = _YES_NO.match(reply)
    return found[1].lower() if found else reply.strip()
