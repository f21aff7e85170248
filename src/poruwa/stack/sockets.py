"""Listening sockets: opened once, inherited by whoever accepts; clear words when that fails.

The process that stays longest opens them, so that connections wait in the kernel's queue instead
of being refused while an accepting process is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from poruwa.config.address import Address, parse_address
from poruwa.errors import StackError

BACKLOG = 4096  # the kernel takes the lesser of this and net.core.somaxconn (4096 since Linux 5.4)
_LISTENING = "0A"  # state column of /proc/net/tcp: TCP_LISTEN
_ANSWER_SECONDS = 1.0


def open_listener(
    address_text: str, *, option: str = "--listen", private: bool = False
) -> socket.socket:
    """Return a listening, non-blocking socket at ``address_text``.

    Args:
        address_text: ``host:port``, ``[v6]:port``, ``:port`` (all interfaces) or ``unix:/path``.
        option: what the message of an error tells to change.
        private: whether a Unix socket is for its owner only (mode 0600).

    Raises:
        StackError: in use (naming the holder when /proc tells), not allowed, or no such address.
    """
    try:
        address = parse_address(address_text)
    except ValueError as error:
        raise StackError(f"{option}: {error}.") from error
    try:
        if address.is_unix:
            return _open_unix(address.path, private=private)
        return _open_tcp(address)
    except OSError as error:
        raise StackError(_why_not(address, error, option)) from error


def inherited_listeners(text: str) -> dict[str, socket.socket]:
    """Return the sockets that ``name=fd,name=fd`` describes; the descriptors are taken over.

    Raises:
        StackError: not of that form, or a descriptor that is no socket.
    """
    sockets: dict[str, socket.socket] = {}
    for item in filter(None, text.split(",")):
        name, _, number = item.rpartition("=")
        try:
            sock = socket.socket(fileno=int(number))
        except (ValueError, OSError) as error:
            raise StackError(f"{item!r} does not name an inherited socket.") from error
        sock.setblocking(False)
        sockets[name] = sock
    return sockets


def describe_listeners(sockets: Mapping[str, socket.socket]) -> str:
    """Return ``name=fd,name=fd``, what `inherited_listeners` reads."""
    return ",".join(f"{name}={sock.fileno()}" for name, sock in sockets.items())


def bound_address(sock: socket.socket) -> str:
    """Return where ``sock`` listens, in the form of a policy: with the port chosen for port 0."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    return str(Address(host=name[0], port=name[1]))


def free_port() -> int:
    """Return a loopback port that is free now; somebody else may take it before it is used."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_port_free(port: int) -> bool:
    """Return whether loopback ``port`` can be listened on now."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_holder(port: int) -> str | None:
    """Return ``pid 12 (nginx)`` for the process that listens on TCP ``port``, None when unknown.

    Other users' processes cannot be seen without privileges (proc(5), /proc/PID/fd).
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            held = any(os.readlink(entry) in wanted for entry in (folder / "fd").iterdir())
            if held:
                return f"pid {folder.name} ({(folder / 'comm').read_text().strip()})"
        except OSError:  # ended meanwhile, or not ours to see
            continue
    return None


def _open_tcp(address: Address) -> socket.socket:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    if not host and socket.has_dualstack_ipv6():
        sock = socket.create_server(
            ("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    else:
        # numeric_only would refuse names; a listener's name is resolved once, at the start
        info = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        family, _, _, _, where = info[0]
        sock = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    sock.setblocking(False)
    return sock


def _open_unix(path: str, *, private: bool) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            if _answers(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            os.unlink(path)  # left over by a process that is gone
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if private:
            os.fchmod(sock.fileno(), 0o600)  # Linux binds with this mode: never open to others
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ANSWER_SECONDS)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:  # a full queue is somebody, too
            return True
        return True


def _why_not(address: Address, error: OSError, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = None if address.is_unix else port_holder(address.port)
        by = f" by {holder}" if holder else ""
        return f"{address} is in use{by}. Stop it, or choose another address with {option}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"Not allowed to listen on {address}. Choose a port above 1023 with {option}, "
            "or run with the right to bind it."
        )
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{address} is no address of this machine. Choose another with {option}."
    return f"Cannot listen on {address}: {error.strerror}. Choose another with {option}."


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes
