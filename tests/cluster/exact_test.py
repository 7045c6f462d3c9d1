#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""QoS 2 between persistent sessions on different nodes comes once, whichever node is killed when."""
import collections
import random
import select
import sys
import threading
import time

from client import borders
from rig import LONG, cluster, eventually, figure, wait_routes, wait_whole
from harness import ROOT, Failure, case_of, check, main  # after rig, which knows where it is

sys.path.insert(0, f"{ROOT}/tests/mqtt")

import packets as mqtt  # noqa: E402

KILLS = 40 if LONG else 6
WINDOW = 50


class Device:
    """
    A client whose session lasts.  It does what the standard asks of one that has lost its
    connection, at once; and it ends when something comes that it must not get.
    """

    def __init__(self, node, name, version):
        self.node, self.name, self.version = node, name, version
        self.fault = None
        self._is_ending = threading.Event()
        self._socket, self._input = None, b""
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def end(self):
        self._is_ending.set()
        self._thread.join()
        if self.fault:
            raise Failure(f"{self.name}: {self.fault}")

    def send(self, data):
        self._socket.sendall(data)

    def _live(self):
        while not self._is_ending.is_set() and not self.fault:
            try:
                self._connect()
                while not self._is_ending.is_set():
                    while self._take(self.on_packet):
                        pass
                    self.idle()
                    if select.select([self._socket], [], [], 0.002)[0]:
                        self._read_some()
            except OSError:
                time.sleep(0.02)
            except (Failure, AssertionError, LookupError) as error:
                self.fault = f"{error!r}"
            if self._socket:
                self._socket.close()

    def _connect(self):
        self._input = b""
        self._socket = self.node.connect(self.node.port, 5)
        properties = {"session_expiry": 3600} if self.version == mqtt.V5 else None
        self.send(mqtt.connect(self.version, self.name, clean=False, keep_alive=0,
                               properties=properties))
        while not self._take(self._connected):
            self._read_some()

    def _connected(self, packet):
        if packet.kind != mqtt.CONNACK:
            raise AssertionError(f"{packet} before CONNACK")
        if packet.reason:
            raise OSError("not now")
        self.begin(packet.session_present)

    def _read_some(self):
        chunk = self._socket.recv(65536)
        if not chunk:
            raise OSError("closed")
        self._input += chunk

    def _take(self, on_packet):
        """The next whole packet, if there is one."""
        _, end = borders(self._input)
        if end is None:
            return False
        raw, self._input = self._input[:end], self._input[end:]
        on_packet(mqtt.decode(self.version, raw))
        return True

    # for subclasses

    def begin(self, session_present):
        """The connection is made."""

    def idle(self):
        """Again and again while it is."""


class Source(Device):
    """Publishes numbers, in order."""

    def __init__(self, node, name, version, topic):
        super().__init__(node, name, version)
        self.topic, self.sent = topic, 0
        self.is_to_send = True
        self._waiting = collections.OrderedDict()  # packet id: number, or None after PUBREC

    def waiting(self):
        return len(self._waiting)

    def begin(self, session_present):
        for packet_id, number in list(self._waiting.items()):
            if number is None:
                self.send(mqtt.ack(self.version, mqtt.PUBREL, packet_id))
            else:
                self._publish(packet_id, number, True)

    def idle(self):
        while self.is_to_send and self.waiting() < WINDOW:
            packet_id = self.sent % 65535 + 1
            self._waiting[packet_id] = self.sent
            self.sent += 1
            self._publish(packet_id, self._waiting[packet_id], False)

    def _publish(self, packet_id, number, dup):
        self.send(mqtt.publish(self.version, self.topic, b"%d" % number, 2, packet_id, dup=dup))

    def on_packet(self, packet):
        check(packet.packet_id in self._waiting, f"acknowledges what was not sent: {packet}")
        if packet.kind == mqtt.PUBREC:
            check(packet.reason == 0, f"refused: {packet}")
            self._waiting[packet.packet_id] = None
            self.send(mqtt.ack(self.version, mqtt.PUBREL, packet.packet_id))
        else:
            check(packet.kind == mqtt.PUBCOMP, f"unexpected: {packet}")
            del self._waiting[packet.packet_id]


class Sink(Device):
    """Subscribes, and writes down the numbers that come, by topic."""

    def __init__(self, node, name, version, topics):
        super().__init__(node, name, version)
        self.got = {topic: [] for topic in topics}
        self.is_subscribed = threading.Event()
        self._received = set()  # packet ids without PUBREL

    def begin(self, session_present):
        check(session_present or not self._received, "the session is gone")
        if not self.is_subscribed.is_set():
            self.send(mqtt.subscribe(self.version, 1, [(topic, 2) for topic in self.got]))

    def on_packet(self, packet):
        if packet.kind == mqtt.SUBACK:
            self.is_subscribed.set()
        elif packet.kind == mqtt.PUBLISH:
            if packet.packet_id not in self._received:
                self._received.add(packet.packet_id)
                self.got[packet.topic].append(int(packet.payload))
            self.send(mqtt.ack(self.version, mqtt.PUBREC, packet.packet_id))
        else:
            check(packet.kind == mqtt.PUBREL, f"unexpected: {packet}")
            self._received.discard(packet.packet_id)
            self.send(mqtt.ack(self.version, mqtt.PUBCOMP, packet.packet_id))

    def faults(self, source):
        """What is wrong with the messages of a source, in words."""
        got = self.got[source.topic]
        twice = [n for n, count in collections.Counter(got).items() if count > 1]
        missing = sorted(set(range(source.sent)) - set(got))
        if twice or missing:
            return [f"{self.name}: of {source.sent} from {source.name} {len(twice)} came twice "
                    f"({twice[:5]}), {len(missing)} are missing ({missing[:5]})"]
        return [] if got == sorted(got) else [f"{self.name}: those of {source.name} are out of order"]


def live_with_kills(victims):
    """Two publishers on the first node, subscribers on the second and on the third."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    with cluster() as members:
        sinks = [Sink(members[i], f"sink{i}", version, "ab").start()
                 for i, version in ((1, mqtt.V311), (2, mqtt.V5))]
        for sink in sinks:
            check(sink.is_subscribed.wait(20), f"{sink.name} is not subscribed: {sink.fault}")
        wait_routes(members, {member.name: 2 for member in members[1:]}, 10)
        sources = [Source(members[0], f"source-{topic}", version, topic).start()
                   for topic, version in (("a", mqtt.V311), ("b", mqtt.V5))]
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.2, 1.5))
            victim = members[dice.choice(victims)]
            victim.kill9()
            time.sleep(dice.choice((0, 0, 0.5, 4)))  # the others miss it, or do not
            victim.start()
        wait_whole(members)
        for source in sources:
            source.is_to_send = False
            eventually(lambda: source.waiting() == 0, 30,
                       lambda: f"{source.name}: {source.waiting()} of {source.sent} are not "
                               f"acknowledged {source.fault or ''}")
        for sink in sinks:
            eventually(lambda: all(len(set(sink.got[source.topic])) >= source.sent
                                   for source in sources), 30,
                       lambda: f"{sum((sink.faults(source) for source in sources), [])} "
                               f"{sink.fault or ''} {[member.peers() for member in members]}")
        time.sleep(0.5)  # for what should not come
        faults = sum((sink.faults(source) for sink in sinks for source in sources), [])
        again = [member.counter("forward_received_again_total") for member in members]
        check(not faults, f"seed {seed}: {'; '.join(faults)}; known already, by node: {again}")
        for device in sources + sinks:
            device.end()
        figure(f"seed {seed}: {KILLS} kills, {[source.sent for source in sources]} messages to two "
               f"subscribers each: all once; known already, by node: {again}")


@case_of(seconds=240)
def nodes_of_subscribers_are_killed():
    live_with_kills([1, 2])


@case_of(seconds=240)
def the_node_of_publishers_is_killed():
    live_with_kills([0])


@case_of(seconds=240)
def any_node_is_killed():
    live_with_kills([0, 1, 2])


if __name__ == "__main__":
    main()
