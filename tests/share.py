"""A share of what takes long: CI runs another one with each commit, and all of them in a row of commits."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def share_of(everything: Sequence[T], share: str) -> list[T]:
    """Return every N-th of a sequence, for "I/N": from the I-th on, counted from 0.

    Raises:
        ValueError: it is not written so, or there is no such share.
    """
    number, shares = map(int, share.split("/"))
    if not 0 <= number < shares:
        raise ValueError(f"{share} is none of the shares 0/{shares} to {shares - 1}/{shares}")
    return list(everything[number::shares])
