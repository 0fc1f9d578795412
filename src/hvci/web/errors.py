"""What the server refuses, each with its status and one sentence."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not answered, and why."""

    status = 400
    kind = "bad-request"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Forbidden(Refused):
    """It came from a page of somebody else, or without the token."""

    status = 403
    kind = "forbidden"


class NotFound(Refused):
    """There is nothing of this name."""

    status = 404
    kind = "not-found"


class TooLarge(Refused):
    """More bytes or files than the server takes."""

    status = 413
    kind = "too-large"


class TooSlow(Refused):
    """The rest of the request did not come in time."""

    status = 408
    kind = "too-slow"


class TooMany(Refused):
    """Asked too often."""

    status = 429
    kind = "too-many"


class Full(Refused):
    """The queue is full, or the room for uploads."""

    status = 503
    kind = "queue-full"
