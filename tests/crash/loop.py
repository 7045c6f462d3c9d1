# SPDX-License-Identifier: Apache-2.0
"""One thread, many MQTT connections: a loop, its timers, and connections that read and write
packets.

Everything the clients of this folder do happens in Loop.run(), in one thread, so that what one of
them has noted down is true for all the others: an acknowledgement that is in the ledger came before
everything that is noted after it.  What clients send within one turn goes out in one write each.
"""
import heapq
import itertools
import select
import socket
import time

import packets as mqtt

POLL_SECONDS_MAX = 0.005
RECEIVE_SIZE = 1 << 18


class Loop:
    def __init__(self):
        self._poll = select.epoll()
        self._connections = {}
        self._timers = []
        self._numbers = itertools.count()
        self._unsent = []

    def after(self, seconds, function):
        """Calls function() once, from run()."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), function))

    def run(self, seconds, until=None):
        """Runs for so long, or until until() is true; returns whether it was."""
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            self.flush()
            if until is not None and until():
                return True
            if now >= deadline:
                return False
            wait = min(deadline - now, POLL_SECONDS_MAX)
            if self._timers:
                wait = min(wait, max(0, self._timers[0][0] - now))
            for descriptor, events in self._poll.poll(wait):
                connection = self._connections.get(descriptor)
                if connection is not None:
                    connection.on_events(events)

    def flush(self):
        """Writes what has been sent."""
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def close(self):
        for connection in list(self._connections.values()):
            connection.close()
        self._poll.close()

    # ---- for connections

    def add(self, connection):
        self._connections[connection.descriptor] = connection
        self._poll.register(connection.descriptor, select.EPOLLIN)

    def remove(self, connection):
        if self._connections.pop(connection.descriptor, None) is not None:
            self._poll.unregister(connection.descriptor)

    def wants_to_write(self, connection, wants):
        if connection.descriptor in self._connections:
            self._poll.modify(connection.descriptor,
                              select.EPOLLIN | (select.EPOLLOUT if wants else 0))

    def has_unsent(self, connection):
        self._unsent.append(connection)


class Connection:
    """A TCP connection that carries MQTT packets; OSError from the constructor: nobody listens.

    on_packet(packet) is called for each packet that comes, decoded strictly; on_end() once when the
    server has ended the connection, after everything it had sent was read.  Neither is called after
    close().
    """

    def __init__(self, loop, address, version, on_packet, on_end):
        self._loop, self._version = loop, version
        self._on_packet, self._on_end = on_packet, on_end
        self._input, self._output = bytearray(), bytearray()
        self._is_listed = False
        self._is_closed = False
        self._socket = socket.create_connection(address, timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self.descriptor = self._socket.fileno()
        loop.add(self)

    def send(self, raw):
        self._output += raw
        if not self._is_listed:
            self._is_listed = True
            self._loop.has_unsent(self)

    def waiting(self):
        """Bytes that the network has not taken yet."""
        return len(self._output)

    def flush(self):
        self._is_listed = False
        if self._is_closed or not self._output:
            return
        try:
            sent = self._socket.send(self._output)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended; reading will tell when all it had to say is read
            sent = len(self._output)
        del self._output[:sent]
        self._loop.wants_to_write(self, bool(self._output))

    def close(self):
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove(self)
            self._socket.close()

    def abandon(self):
        """Never reads from it again, but leaves it open: a client that has lost its network."""
        self._loop.remove(self)

    def on_events(self, events):
        if events & select.EPOLLOUT:
            self.flush()
        if events & ~select.EPOLLOUT:
            self._read()

    def _read(self):
        try:
            chunk = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._input += chunk
        for raw in self._take_packets():
            self._on_packet(mqtt.decode(self._version, raw))
            if self._is_closed:
                return
        if not chunk:
            self.close()
            self._on_end()

    def _take_packets(self):
        """The whole packets of the input."""
        raw, at, found = bytes(self._input), 0, []
        while True:
            size = shift = 0
            body = at + 1
            while body < len(raw):
                byte = raw[body]
                size |= (byte & 0x7f) << shift
                shift += 7
                body += 1
                if byte < 0x80:
                    break
            else:
                break
            if len(raw) < body + size:
                break
            found.append(raw[at:body + size])
            at = body + size
        del self._input[:at]
        return found
