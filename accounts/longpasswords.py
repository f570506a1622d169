"""Passwords over 72 bytes: the original took them, and its bcrypt read the first 72 bytes.

Such a hash is recognised by its cost, which the original alone wrote. It is never written again, as a hash of
this service's is of a whole password, and what is longer is a wrong one there.
"""

from __future__ import annotations

import logging

import bcrypt
from django.contrib.auth.hashers import get_hasher

from accounts.fields import BCRYPT_PREFIX
from accounts.validators import PASSWORD_MAX_BYTES

ORIGINAL_COST = 10

logger = logging.getLogger(__name__)


def matches_as_cut(raw_password: str, encoded: str | None) -> bool:
    """Whether a password over 72 bytes is the one that the original hashed; as long as any other check takes."""
    try:
        cut = raw_password.encode()[:PASSWORD_MAX_BYTES]
    except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 client can have sent
        return False
    hashed = (encoded or "").removeprefix(BCRYPT_PREFIX).encode()
    if hashed.split(b"$")[2:3] != [str(ORIGINAL_COST).encode()]:
        bcrypt.hashpw(cut, bcrypt.gensalt(_cost()))
        return False
    is_right = bcrypt.checkpw(cut, hashed)
    for _ in range(2 ** max(0, _cost() - ORIGINAL_COST) - 1):
        bcrypt.hashpw(cut, hashed)
    if is_right:
        logger.info("Somebody signed in with a password over %d bytes, read as the original did", PASSWORD_MAX_BYTES)
    return is_right


def _cost() -> int:
    return int(getattr(get_hasher(), "rounds", ORIGINAL_COST))
