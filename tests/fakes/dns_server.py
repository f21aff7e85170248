"""A DNS server over UDP and TCP with one zone, which a test changes while it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_BYTES = 512  # RFC 1035 section 4.2.1, for who does not ask for more


class DnsServer(asyncio.DatagramProtocol):
    """Answers from ``records``; a name with records of other types only has no data.

    Attributes:
        address: ``127.0.0.1:PORT`` once it runs, for UDP and TCP.
        asked: ``"name TYPE"`` of every question, in their order.
        is_silent: take questions and answer none.
        rcode: what every answer says instead of the zone, where it is an error.
    """

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[str] = []
        self.is_silent = False
        self.rcode = dns.rcode.NOERROR
        self.records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self.additional: dict[dns.name.Name, list[dns.rrset.RRset]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def put(self, name: str, type_: str, *values: str, ttl: int = 60) -> None:
        """Let ``name`` have exactly these records of a type; with no values, none."""
        key = (dns.name.from_text(name), dns.rdatatype.from_text(type_))
        if values:
            self.records[key] = dns.rrset.from_text(name + ".", ttl, "IN", type_, *values)
        else:
            self.records.pop(key, None)

    def put_additional(self, question: str, name: str, type_: str, *values: str) -> None:
        """Send these records with each answer to ``question``, beside those it asks for."""
        more = self.additional.setdefault(dns.name.from_text(question), [])
        more.append(dns.rrset.from_text(name + ".", 60, "IN", type_, *values))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._answer(data)
        if answer is None or self._transport is None:
            return
        wire = answer.to_wire()
        if len(wire) > UDP_BYTES:
            cut = dns.message.make_response(dns.message.from_wire(data))
            cut.flags |= dns.flags.TC
            wire = cut.to_wire()
        self._transport.sendto(wire, addr)

    async def serve_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = self._answer(await reader.readexactly(length))
            if answer is not None:
                writer.write(answer.to_wire(prepend_length=True))
                await writer.drain()
        writer.close()

    def _answer(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        if self.is_silent:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if self.rcode != dns.rcode.NOERROR:
            response.set_rcode(self.rcode)
            return response
        name = question.name
        while alias := self.records.get((name, dns.rdatatype.CNAME)):
            response.answer.append(alias)
            name = alias[0].target
        found = self.records.get((name, question.rdtype))
        if found is not None:
            response.answer.append(found)
            response.additional.extend(self.additional.get(name, ()))
        elif all(known != name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


@asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """Run a server on a free port of the loopback interface."""
    server = DnsServer()
    stream = await asyncio.start_server(server.serve_stream, "127.0.0.1", 0)
    port = stream.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    # The same number for UDP: free as a rule, since nobody binds to port 0 of UDP here but clients.
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setblocking(False)
    datagrams.bind(("127.0.0.1", port))
    transport, _ = await loop.create_datagram_endpoint(lambda: server, sock=datagrams)
    server.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        transport.close()
        stream.close()
        await stream.wait_closed()
