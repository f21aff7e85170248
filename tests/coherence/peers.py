"""Which process has the other end of a TCP connection of ours on loopback.

The kernel tells the inode of the socket at the other end (``sock_diag(7)``, an exact look-up), and
``/proc/PID/fd`` who has it open. A response does not say which worker answered, and need not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_ANY: Final = 0xFFFFFFFF  # every state; no cookie
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")
_INODE_OFFSET: Final = 16 + 4 + 48 + 16  # struct inet_diag_msg, behind the header


class Peers:
    """Looks up peers; ``close`` it.

    Raises:
        OSError: the kernel has no sock_diag.
    """

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)

    def close(self) -> None:
        self._netlink.close()

    def pid_of(self, here: tuple[str, int], there: tuple[str, int], pids: Iterable[int]) -> int:
        """Return which of ``pids`` has the socket bound to ``there``, connected to ``here``.

        0 if none of them, or if it is closed.
        """
        inode = self._inode(there, here)
        if not inode:
            return 0
        wanted = f"socket:[{inode}]"
        return next((pid for pid in pids if _has_open(pid, wanted)), 0)

    def _inode(self, source: tuple[str, int], destination: tuple[str, int]) -> int:
        identity = struct.pack("!HH", source[1], destination[1])
        identity += socket.inet_aton(source[0]).ljust(16, b"\0")
        identity += socket.inet_aton(destination[0]).ljust(16, b"\0")
        identity += struct.pack("=III", 0, _ANY, _ANY)
        request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY) + identity
        length = _HEADER.size + len(request)
        self._netlink.send(
            _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request
        )
        answer = self._netlink.recv(8192)
        if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
            return 0
        return int(struct.unpack_from("=I", answer, _INODE_OFFSET)[0])


def _has_open(pid: int, wanted: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        # The newest descriptors have the highest numbers.
        for name in sorted(os.listdir(folder), key=int, reverse=True):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == wanted:
                    return True
    return False
