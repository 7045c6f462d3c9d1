# SPDX-License-Identifier: Apache-2.0
"""
A raw MQTT client for tests: it sends what it is told and waits for what it is told, nothing else.
It answers no PUBLISH by itself and sends no PINGREQ by itself.
"""

import itertools
import os
import select
import socket
import struct
import time

import packets as mqtt
from packets import NAMES, V5

TIMEOUT_S = 10 * float(os.environ.get("GRAPEVINE_TEST_PATIENCE", "1"))

_numbers = itertools.count(1)


def unique(prefix="t"):
    """A name nobody else has, good for client ids and topics."""
    return f"{prefix}{os.getpid() % 100000}x{next(_numbers)}"


class Unexpected(AssertionError):
    pass


class Closed(Unexpected):
    pass


class Client:
    """One connection.  `got` has everything that came, for the message of a failure."""

    def __init__(self, address, version=V5, client_id=None, receive_buffer=None):
        self.address, self.version = address, version
        self.client_id = unique() if client_id is None else client_id
        self.got = []
        self._buffer = bytearray()
        self._set_aside = []
        self._packet_id = 0
        self._eof = False
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    # ---- bytes

    def send(self, raw):
        """Sends; a server that has closed already is no error here, expect_... will see it."""
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def cut(self):
        """Closes without a word."""
        self.socket.close()

    def reset(self):
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _take_packet(self):
        if len(self._buffer) < 2:
            return None
        size = shift = 0
        for at in range(1, 5):
            if at >= len(self._buffer):
                return None
            size |= (self._buffer[at] & 0x7f) << shift
            shift += 7
            if self._buffer[at] < 0x80:
                break
        end = at + 1 + size
        if len(self._buffer) < end:
            return None
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        packet = mqtt.decode(self.version, raw)
        self.got.append(packet)
        return packet

    def receive(self, timeout_s=None):
        """The next packet; None after `timeout_s` without one; raises Closed at the end."""
        deadline = time.monotonic() + (TIMEOUT_S if timeout_s is None else timeout_s)
        while True:
            packet = self._set_aside.pop(0) if self._set_aside else self._take_packet()
            if packet is not None:
                return packet
            if self._eof:
                raise Closed(f"connection closed; had got {self.got[-5:]}")
            left = deadline - time.monotonic()
            if left <= 0 and timeout_s != 0:
                return None
            if not self._poll.poll(max(left, 0) * 1000):
                return None
            try:
                chunk = self.socket.recv(1 << 18)
            except (ConnectionResetError, BrokenPipeError):
                chunk = b""
            self._buffer += self._unwrap(chunk)
            self._eof = not chunk

    def _unwrap(self, chunk):
        """The MQTT in what has come; more layers make more of it (websocket.py)."""
        return chunk

    # ---- waiting

    def expect(self, kind, **fields):
        """The next packet, which must be of this kind with these fields."""
        packet = self.receive()
        if packet is None:
            raise Unexpected(f"no {NAMES[kind]} came; had got {self.got[-5:]}")
        wrong = {k: v for k, v in fields.items() if getattr(packet, k, None) != v}
        if packet.kind != kind or wrong:
            raise Unexpected(f"expected {NAMES[kind]}{fields}, got {packet}")
        return packet

    def expect_among_messages(self, kind, **fields):
        """As expect(), but messages may come first; they stay there to be received."""
        messages = []
        while (packet := self.receive()) is not None and packet.kind == mqtt.PUBLISH:
            messages.append(packet)
        self._set_aside = ([] if packet is None else [packet]) + messages + self._set_aside
        return self.expect(kind, **fields)

    def expect_publish(self, topic=None, payload=None, **fields):
        if topic is not None:
            fields["topic"] = topic
        if payload is not None:
            fields["payload"] = mqtt.as_bytes(payload)
        return self.expect(mqtt.PUBLISH, **fields)

    def expect_nothing(self, quiet_s=0.15):
        """Nothing is on its way to us: an answer to PINGREQ comes, and nothing else."""
        self.ping()
        packet = self.receive(quiet_s)
        if packet is not None:
            raise Unexpected(f"expected silence, got {packet}")

    def expect_close(self, *reasons, timeout_s=None):
        """
        The end of the connection.  Before it a v5 client may be told why; with `reasons` given it
        has to be one of them if it is told anything.  Returns the reason or None.
        """
        told = None
        deadline = time.monotonic() + (TIMEOUT_S if timeout_s is None else timeout_s)
        while True:
            try:
                packet = self.receive(max(deadline - time.monotonic(), 0.001))
            except Closed:
                break
            if packet is None:
                raise Unexpected(f"the connection stays open; had got {self.got[-5:]}")
            if told is not None:
                raise Unexpected(f"[MQTT-3.14.4-1] {packet} after the end was announced")
            if packet.kind == mqtt.DISCONNECT or (packet.kind == mqtt.CONNACK and packet.reason):
                told = packet.reason
            elif packet.kind == mqtt.CONNACK:
                raise Unexpected("was accepted")
        if told is not None and reasons and told not in reasons:
            wanted = ", ".join(f"0x{reason:02x}" for reason in reasons)
            raise Unexpected(f"closed with 0x{told:02x}, expected {wanted}")
        return told

    def expect_one_of_or_close(self, kind, *reasons):
        """The reason of the next packet, one of these; or the end, then None."""
        try:
            packet = self.receive()
        except Closed:
            return None
        if packet is not None and packet.kind == mqtt.DISCONNECT:
            self.expect_close()
            return None
        if packet is None or packet.kind != kind or packet.reason not in reasons:
            raise Unexpected(f"expected {NAMES[kind]} with one of {reasons}, got {packet}")
        if packet.reason >= 0x80:
            self.expect_close()
        return packet.reason

    def collect(self, count, acknowledge=True):
        """So many PUBLISH packets, acknowledged, and silence after them."""
        found = []
        for _ in range(count):
            packet = self.expect(mqtt.PUBLISH)
            found.append(self.acknowledge(packet) if acknowledge else packet)
        self.expect_nothing()
        return found

    # ---- exchanges

    def next_id(self):
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id

    def connect(self, expect=True, **options):
        self.send(mqtt.connect(self.version, self.client_id, **options))
        return self.expect(mqtt.CONNACK, reason=0) if expect else None

    def ping(self):
        self.send(mqtt.pingreq())
        return self.expect(mqtt.PINGRESP)

    def subscribe(self, *filters, qos=0, options=None, properties=None):
        """Filters with one options byte, or pairs of filter and options.  Returns SUBACK."""
        common = qos if options is None else options
        pairs = [f if isinstance(f, tuple) else (f, common) for f in filters]
        packet_id = self.next_id()
        self.send(mqtt.subscribe(self.version, packet_id, pairs, properties))
        suback = self.expect_among_messages(mqtt.SUBACK, packet_id=packet_id)
        if len(suback.codes) != len(pairs):
            raise Unexpected(f"[MQTT-3.8.4-6] {len(suback.codes)} codes for {len(pairs)} filters")
        return suback

    def subscribed(self, *filters, **options):
        """As subscribe(), and all of it has to be granted.  Returns self."""
        suback = self.subscribe(*filters, **options)
        if any(code > 2 for code in suback.codes):
            raise Unexpected(f"not granted: {suback}")
        return self

    def unsubscribe(self, *filters, properties=None):
        packet_id = self.next_id()
        self.send(mqtt.unsubscribe(self.version, packet_id, filters, properties))
        return self.expect_among_messages(mqtt.UNSUBACK, packet_id=packet_id)

    def publish(self, topic, payload=b"", qos=0, **options):
        """Publishes and completes the exchange.  Returns PUBACK or PUBREC."""
        packet_id = options.pop("packet_id", None) or (self.next_id() if qos else None)
        self.send(mqtt.publish(self.version, topic, payload, qos, packet_id, **options))
        if qos == 0:
            return None
        if qos == 1:
            return self.expect(mqtt.PUBACK, packet_id=packet_id)
        pubrec = self.expect(mqtt.PUBREC, packet_id=packet_id)
        if pubrec.reason < 0x80:
            self.send(mqtt.ack(self.version, mqtt.PUBREL, packet_id))
            self.expect(mqtt.PUBCOMP, packet_id=packet_id)
        return pubrec

    def acknowledge(self, publish):
        """Completes our side of a PUBLISH that came.  Returns it."""
        if publish.qos == 1:
            self.ack(mqtt.PUBACK, publish.packet_id)
        elif publish.qos == 2:
            self.ack(mqtt.PUBREC, publish.packet_id)
            self.expect_among_messages(mqtt.PUBREL, packet_id=publish.packet_id)
            self.ack(mqtt.PUBCOMP, publish.packet_id)
        return publish

    def take(self, topic=None, payload=None, **fields):
        """expect_publish() and acknowledge()."""
        return self.acknowledge(self.expect_publish(topic, payload, **fields))

    def ack(self, kind, packet_id, reason=None, **options):
        self.send(mqtt.ack(self.version, kind, packet_id, reason, **options))

    def disconnect(self, reason=None, properties=None):
        """A normal goodbye; waits for the server to close."""
        self.send(mqtt.disconnect(self.version, reason, properties))
        self.expect_close()
        self.cut()
