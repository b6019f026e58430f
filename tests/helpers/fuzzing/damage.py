"""Damage to a file: what disks, copies, editors and attackers do to bytes."""

from collections.abc import Callable
from random import Random

# Lengths and numbers that a reader may believe: of 1 to 8 bytes, in either order.
HUGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**40, 2**63 - 1, 2**64 - 1)
# For formats of text.
WORDS = (
    *(b"null", b"NaN", b"-1", b"1e999", b"1000000000000", b"true", b"{}", b"[]", b'""', b"'", b'"'),
    *(
        b"\0",
        b"\r",
        b"\n",
        b"\n\n",
        b",",
        b";",
        b"\t",
        b"\xe9",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"&a",
    ),
    *(b"\x1b[31m", b"\xe2\x80\xa8", b"\x0c", b"!!python/object:os.system", b"<<: *a", b": "),
    *(b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"a" * 200_000),
)


def damage(whole: bytes, random: Random) -> bytes:
    """Return `whole` with one kind of damage, or a few."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        whole = random.choice(KINDS)(whole, random)
    return whole


def _place(whole: bytes, random: Random) -> int:
    """Return a place; often near the start or the end, where most formats describe themselves."""
    size = max(1, len(whole))
    near = random.randrange(min(size, 600))
    return random.choice((random.randrange(size), near, size - 1 - near))


def _put(whole: bytes, at: int, new: bytes, *, instead: int) -> bytes:
    return whole[:at] + new + whole[at + instead :]


def flip_bit(whole: bytes, random: Random) -> bytes:
    at = _place(whole, random)
    changed = bytes([byte ^ 1 << random.randrange(8) for byte in whole[at : at + 1]])
    return _put(whole, at, changed, instead=1)


def overwrite(whole: bytes, random: Random) -> bytes:
    new = random.randbytes(random.randint(1, 64))
    return _put(whole, _place(whole, random), new, instead=len(new))


def zero(whole: bytes, random: Random) -> bytes:
    size = random.choice((1, 4, 64, 4096))
    return _put(whole, _place(whole, random), bytes(size), instead=size)


def cut(whole: bytes, random: Random) -> bytes:
    return whole[: _place(whole, random)]


def grow(whole: bytes, random: Random) -> bytes:
    return whole + random.choice((bytes(512), random.randbytes(100), whole))


def double(whole: bytes, random: Random) -> bytes:
    at = _place(whole, random)
    chunk = whole[at : at + random.choice((1, 16, 512))]
    return _put(whole, at, chunk * random.choice((2, 2, 50)), instead=len(chunk))


def remove(whole: bytes, random: Random) -> bytes:
    return _put(whole, _place(whole, random), b"", instead=random.choice((1, 8, 512)))


def set_length(whole: bytes, random: Random) -> bytes:
    size = random.choice((1, 2, 4, 8))
    number = random.choice(HUGE) % 2 ** (8 * size)
    new = number.to_bytes(size, random.choice(("little", "big")))
    return _put(whole, _place(whole, random), new, instead=size)


def put_word(whole: bytes, random: Random) -> bytes:
    at, word = _place(whole, random), random.choice(WORDS)
    return _put(whole, at, word, instead=random.choice((0, 1, len(word))))


def replace_number(whole: bytes, random: Random) -> bytes:
    """Put a word in place of a number of a text, or between two separators."""
    digits = [at for at, byte in enumerate(whole[:100_000]) if 48 <= byte < 58]
    at = random.choice(digits) if digits else _place(whole, random)
    return _put(whole, at, random.choice(WORDS), instead=1)


def other_content(_: bytes, random: Random) -> bytes:
    return random.choice(
        (b"", b"hello, world\n", b"{}", b"[1]", b"\x80\x04.", bytes(5000), b"PK\3\4")
    )


KINDS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(flip_bit, flip_bit, flip_bit, overwrite, zero, cut, cut, grow, double, remove),
    *(set_length, set_length, put_word, replace_number, other_content),
)
