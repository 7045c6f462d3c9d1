# SPDX-License-Identifier: Apache-2.0
"""A small MQTT client that keeps everything it hears with the time of arrival.

It speaks 3.1.1 and 5, acknowledges what it gets, and never connects again by itself.
"""
import itertools
import struct
import threading
import time
import typing

from rig import Failure, check, figure, patient, wait_tables

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14

_ids = itertools.count(1)


class Message(typing.NamedTuple):
    at: float
    topic: str
    payload: bytes
    qos: int
    dup: bool
    retain: bool


def _length(size):
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (128 if size else 0))
        if not size:
            return bytes(out)


def borders(data):
    """Where the body of the first packet begins and ends; (None, None): it is not all there."""
    size, shift, at = 0, 0, 1
    while True:
        if at >= len(data):
            return None, None
        byte = data[at]
        size |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (at, at + size) if at + size <= len(data) else (None, None)


def packet(first, body):
    return bytes([first]) + _length(len(body)) + body


def text(value):
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


class Pending:
    """A publish, or another request, that waits for its answer."""

    def __init__(self):
        self.done = threading.Event()
        self.answer = None
        self.at = None

    def finish(self, answer):
        self.answer, self.at = answer, time.monotonic()
        self.done.set()

    @property
    def is_acknowledged(self):
        return self.done.is_set() and self.answer is not None

    def wait(self, seconds=10):
        check(self.done.wait(patient(seconds)), f"no answer within {patient(seconds):g} s")
        check(self.answer is not None, "the connection ended before the answer")
        return self.answer


class Client:
    def __init__(self, node, client_id=None, version=4, window=200, keep=True, on_message=None,
                 clean=True, will=None):
        self.name = client_id or f"c{next(_ids)}-{node.name}"
        self.version = version
        self.clean, self.is_resumed = clean, False
        self._will = will  # (topic, payload)
        self.messages = []
        self.closed = threading.Event()
        self.reason = None
        self.reads = threading.Event()  # cleared: it does not read any more
        self.reads.set()
        self._keep, self._on_message = keep, on_message
        self._sending = threading.Lock()
        self._room = threading.Semaphore(window)
        self._packet_ids = itertools.cycle(range(1, 65536))
        self._pending = {}
        self._releasing = set()  # QoS 2 packet ids taken, not yet released
        self._socket = node.connect(node.port, patient(10))
        self._socket.setsockopt(6, 1, 1)
        self._connect()
        self._socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def _connect(self):
        properties = b"\x03\x21" + struct.pack(">H", 1000) if self.version == 5 else b""
        flags, will = 2 if self.clean else 0, b""
        if self._will is not None:
            flags, will = flags | 4, self._none() + text(self._will[0]) + text(self._will[1])
        self._socket.sendall(packet(CONNECT << 4, text("MQTT") + bytes([self.version, flags]) +
                                    struct.pack(">H", 0) + properties + text(self.name) + will))
        self._input = bytearray()
        while True:
            got = self._take()
            if got is not None:
                break
            chunk = self._socket.recv(65536)
            check(chunk, f"{self.name}: the node ended the connection instead of a CONNACK")
            self._input += chunk
        check(got[0] >> 4 == CONNACK and got[1][1] == 0, f"{self.name}: refused: {got}")
        self.is_resumed = got[1][0] == 1

    # ---- bytes ----------------------------------------------------------------------------

    def _take(self):
        """The next whole packet of the input: (first byte, body)."""
        at, end = borders(self._input)
        if end is None:
            return None
        got = self._input[0], bytes(self._input[at:end])
        del self._input[:end]
        return got

    def _send(self, data):
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            self._end()

    def _read(self):
        try:
            while True:
                got = self._take()
                while got is not None:
                    self._handle(*got)
                    got = self._take()
                self.reads.wait()
                chunk = self._socket.recv(262144)
                if not chunk:
                    break
                self._input += chunk
        except OSError:
            pass
        self._end()
        self._shut()

    def _end(self):
        self.closed.set()
        for pending in list(self._pending.values()):
            pending.finish(None)
            self._room.release()
        self._pending.clear()

    def _handle(self, first, body):
        kind = first >> 4
        if kind == PUBLISH:
            self._take_publish(first, body)
        elif kind in (PUBACK, PUBCOMP, SUBACK, UNSUBACK):
            self._answered(body)
        elif kind == PUBREC:
            if len(body) > 2 and body[2] >= 0x80:
                self._answered(body)
            else:
                self._send(packet(PUBREL << 4 | 2, body[:2]))
        elif kind == PUBREL:
            self._releasing.discard(body[:2])
            self._send(packet(PUBCOMP << 4, body[:2]))
        elif kind == DISCONNECT:
            self.reason = body[0] if body else 0

    def _answered(self, body):
        pending = self._pending.pop(struct.unpack(">H", body[:2])[0], None)
        if pending is not None:
            pending.finish(body[2:])
            self._room.release()

    def _take_publish(self, first, body):
        size = struct.unpack(">H", body[:2])[0]
        topic = body[2:2 + size].decode()
        at = 2 + size
        qos = first >> 1 & 3
        packet_id = b""
        if qos > 0:
            packet_id, at = body[at:at + 2], at + 2
        if self.version == 5:
            check(body[at] < 128, "more properties than this client expects")
            at += 1 + body[at]
        if qos == 1:
            self._send(packet(PUBACK << 4, packet_id))
        elif qos == 2:
            is_again = packet_id in self._releasing
            self._releasing.add(packet_id)
            self._send(packet(PUBREC << 4, packet_id))
            if is_again:
                return
        message = Message(time.monotonic(), topic, body[at:], qos, bool(first & 8), bool(first & 1))
        if self._keep:
            self.messages.append(message)
        if self._on_message is not None:
            self._on_message(message)

    # ---- requests -------------------------------------------------------------------------

    def _ask(self, first, body_of):
        check(not self.closed.is_set(), f"{self.name}: the connection has ended")
        check(self._room.acquire(timeout=patient(60)), f"{self.name}: no acknowledgement for 60 s")
        packet_id = next(self._packet_ids)
        while packet_id in self._pending:
            packet_id = next(self._packet_ids)
        pending = self._pending[packet_id] = Pending()
        self._send(packet(first, body_of(struct.pack(">H", packet_id))))
        return pending

    def _none(self):
        return b"\x00" if self.version == 5 else b""

    def subscribe_later(self, filters, qos=1):
        return self._ask(SUBSCRIBE << 4 | 2, lambda packet_id: packet_id + self._none() + b"".join(
            text(f) + bytes([qos]) for f in filters))

    def subscribe(self, *filters, qos=1, seconds=10):
        codes = self.subscribe_later(filters, qos).wait(seconds)
        codes = codes[1:] if self.version == 5 else codes
        check(all(code <= 2 for code in codes), f"{self.name}: SUBACK {codes.hex()}")

    def unsubscribe(self, *filters):
        self._ask(UNSUBSCRIBE << 4 | 2, lambda packet_id: packet_id + self._none() + b"".join(
            text(f) for f in filters)).wait()

    def publish(self, topic, payload, qos=0, retain=False):
        """A Pending for QoS 1 and 2; blocks while the window is full."""
        first = PUBLISH << 4 | qos << 1 | retain
        if qos == 0:
            check(not self.closed.is_set(), f"{self.name}: the connection has ended")
            self._send(packet(first, text(topic) + self._none() + payload))
            return None
        return self._ask(first,
                         lambda packet_id: text(topic) + packet_id + self._none() + payload)

    def close(self):
        """A clean end."""
        self._send(packet(DISCONNECT << 4, b""))
        self._shut()

    def _shut(self):
        try:
            self._socket.shutdown(2)
        except OSError:
            pass
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stream:
    """A steady stream of numbered messages from one node to a subscriber on another."""

    def __init__(self, source, target, qos, every=0.01):
        self.source, self.qos = source, qos
        self.name = f"{source.name} to {target.name} at QoS {qos}"
        self.sent = 0
        self._topic, self._every = f"stream/{next(_ids)}", every
        self._pending = []
        self._subscriber = Client(target)
        self._subscriber.subscribe(self._topic, qos=qos)
        self._publisher = Client(source, window=5000)
        self._ended = threading.Event()
        self._failure = None
        self._begun = None
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def start(self):
        self._begun = time.monotonic()
        self._thread.start()

    def _publish(self):
        try:
            while not self._ended.is_set():
                pending = self._publisher.publish(self._topic, b"%d" % self.sent, self.qos)
                self._pending.append(pending)
                self.sent += 1
                self._ended.wait(self._every)
        except Failure as failure:
            self._failure = failure

    def gap(self):
        """The longest time without a delivery so far."""
        times = [self._begun, *(m.at for m in list(self._subscriber.messages)), time.monotonic()]
        return max(b - a for a, b in zip(times, times[1:]))

    def end(self, may_lose=False):
        """Stops, waits for what is under way, and checks that all is there, once and in order.

        `may_lose` is for streams at QoS 0.
        """
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        for pending in self._pending:
            if pending is not None:
                pending.wait(20)
        end = time.monotonic() + patient(0.5 if may_lose else 10)
        while len(self._subscriber.messages) < self.sent and time.monotonic() < end:
            time.sleep(0.02)
        got = [int(m.payload) for m in self._subscriber.messages]
        self._publisher.close()
        self._subscriber.close()
        check(got == sorted(got), f"{self.name}: out of order")
        check(len(set(got)) == len(got), f"{self.name}: {len(got) - len(set(got))} doubled")
        missing = sorted(set(range(self.sent)) - set(got))
        check(may_lose or not missing,
              f"{self.name}: {len(missing)} of {self.sent} lost, first {missing[:5]}")


def streams(pairs, levels=(0, 1, 2)):
    """Streams for each (source, target) at each QoS, started when every node knows the routes."""
    made = [Stream(source, target, qos) for source, target in pairs for qos in levels]
    wait_tables({node for pair in pairs for node in pair})
    for stream in made:
        stream.start()
    return made


def end_streams(made, label, pause_max=None, may_lose_qos_0=False):
    """Ends them all, prints the longest pause among them, and checks it."""
    gap, name = max((stream.gap(), stream.name) for stream in made)
    for stream in made:
        stream.end(may_lose=may_lose_qos_0 and stream.qos == 0)
    figure(f"{label}: {sum(stream.sent for stream in made)} messages, longest pause "
           f"{gap * 1000:.0f} ms, {name}")
    check(pause_max is None or gap <= patient(pause_max), f"{label}: a pause of {gap:.2f} s")
