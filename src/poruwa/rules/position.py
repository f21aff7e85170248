"""Positions of changes: ``(epoch, n)`` as one int, as text, as the id of a stream entry.

A position is the place of a change in the one order of all changes (DESIGN section 6). ``n`` counts
within an epoch without gaps; a new epoch begins where it is not known what was missed, and its
first entry, ``n`` 0, says that everything changed. As one int (``epoch << 40 | n``) positions
compare as they are ordered and fit a signed 64-bit integer. 0 is before everything.
"""

from __future__ import annotations

from typing import Final

N_BITS: Final = 40
_N_MASK: Final = (1 << N_BITS) - 1
HIGHEST: Final = (1 << 63) - 1


def make_position(epoch: int, n: int) -> int:
    """Return the position of change ``n`` (0 to 2^40 - 1) of ``epoch`` (0 to 2^23 - 1)."""
    return epoch << N_BITS | n


def epoch_of(position: int) -> int:
    return position >> N_BITS


def n_of(position: int) -> int:
    return position & _N_MASK


def position_of_id(entry_id: bytes) -> int:
    """Return the position that the id of a stream entry, ``b"epoch-n"``, stands for.

    Raises:
        ValueError: it is none.
    """
    epoch, dash, n = entry_id.partition(b"-")
    if not (dash and epoch.isdigit() and n.isdigit()):
        raise ValueError(f"{entry_id!r} is no id of the log; it should be epoch-n")
    return int(epoch) << N_BITS | int(n)


def id_of_position(position: int) -> bytes:
    """Return the id of the stream entry at ``position``."""
    return b"%d-%d" % (position >> N_BITS, position & _N_MASK)


def is_next(position: int, before: int) -> bool:
    """Tell whether ``position`` follows ``before`` with nothing between them.

    The first entry of a later epoch does too: it says that everything changed, so nothing that lay
    between is missed.
    """
    return position == before + 1 or (position & _N_MASK == 0 and position > before)


def parse_position(text: bytes) -> int | None:
    """Return the position that travelled in decimal in a header; None if it is none."""
    if not text.isdigit() or len(text) > len(str(HIGHEST)):
        return None
    position = int(text)
    return position if position <= HIGHEST else None
