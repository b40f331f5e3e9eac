"""The tag of a frame is HMAC-SHA-256, as the standard library works it out, cut to 16 bytes."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from strictarp.hello.auth import TAG_LENGTH, Keys, sign, verify


@given(st.binary(min_size=16, max_size=200), st.binary(min_size=6, max_size=6), st.binary(max_size=300))
def test_a_tag_is_the_hmac_of_source_and_message(key: bytes, source: bytes, message: bytes) -> None:
    tag = hmac.digest(key, source + message, hashlib.sha256)[:TAG_LENGTH]
    assert sign(Keys(key), source, message) == tag
    assert verify(Keys(b"another key, as long as needed", key), source, message, tag)
    assert not verify(Keys(b"another key, as long as needed"), source, message, tag)
