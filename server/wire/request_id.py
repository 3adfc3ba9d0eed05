"""The ids of requests, which their answers, log lines and errors carry."""

from collections.abc import Iterator
from os import urandom

AT_A_TIME = 256  # To ask the system for randomness takes as long as to write a response's head.


def _ids() -> Iterator[str]:
    while True:
        digits = urandom(16 * AT_A_TIME).hex()
        yield from (digits[start : start + 32] for start in range(0, len(digits), 32))


# Makes an id: 128 random bits as 32 hexadecimal digits.
new_request_id = _ids().__next__
