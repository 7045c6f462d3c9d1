# SPDX-License-Identifier: Apache-2.0
"""A publisher that does what the standard asks of a client that has lost its connection: it sends
again what is not acknowledged, with the same packet ids, in the same order.

Checked here: acknowledgements come in the order of what they acknowledge, refuse nothing, and the
node knows every packet id that it has acknowledged with PUBREC.
"""
import collections

import packets as mqtt
from device import Device
from ledger import Message
from packets import V5

NOT_FOUND = 0x92
NO_SUBSCRIBERS = 0x10

# What messages carry [bytes].  Now and then what a node stores once for all its shards, in one page,
# in two, and in many.
SIZES = (20, 60, 60, 200, 200, 1000)
LARGE_SIZES = (3000, 3000, 6000, 6000, 40000)
LARGE = 0.1


class Route:
    """What a publisher publishes to: a topic at one QoS.  `deletes`: now and then nothing."""

    def __init__(self, topic, qos, retain=False, deletes=False, has_readers=True):
        self.topic, self.qos, self.retain, self.deletes = topic, qos, retain, deletes
        self.has_readers = has_readers


class Publisher(Device):
    """`routes`: what it publishes to, at random.  Publishing is asked for with publish()."""

    def __init__(self, site, name, version, routes, window, low_ids=False, clean=False):
        super().__init__(site, name, version, clean=clean)
        self.routes = routes
        self._window = window
        self._low_ids = low_ids  # takes the lowest free packet id: used again as soon as possible
        self._last_id = 0
        self._number = 0
        self._sent = {}       # packet id: message without PUBACK or PUBREC, in the order sent
        self._received = {}   # packet id: message with PUBREC, without PUBCOMP
        self._releases = collections.Counter()  # packet id: PUBRELs sent
        self._expected = {}   # kind of acknowledgement: packet ids, as they have to come
        self.holds_releases = False  # PUBREL waits until it is told

    # ---- publishing

    def room(self):
        """How many messages it may send now."""
        if not self.is_online:
            return 0
        window = min(self._window, self.receive_maximum())
        return max(0, window - len(self._sent) - len(self._received))

    def is_settled(self):
        """Everything it has published is acknowledged to the end."""
        return not self._sent and not self._received

    def unfinished(self):
        """The messages that are not acknowledged to the end."""
        return [*self._sent.values(), *self._received.values()]

    def publish(self):
        """One new message, which is returned; there has to be room."""
        random = self.site.random
        route = random.choice(self.routes)
        self._number += 1
        size = random.choice(LARGE_SIZES if random.random() < LARGE else SIZES)
        if route.deletes and random.random() < 0.3:
            size = 0
        message = Message(f"{self.name}:{self._number}", self._number, route.topic, route.qos,
                          route.retain, size)
        message.sent = self.site.ledger.tick()
        self.site.ledger.add(message)
        packet_id = self._take_id()
        self._sent[packet_id] = message
        self._send_publish(packet_id, message, has_readers=route.has_readers)
        return message

    def _take_id(self):
        packet_id = 0 if self._low_ids else self._last_id
        while True:
            packet_id = packet_id % 65535 + 1
            if packet_id not in self._sent and packet_id not in self._received:
                self._last_id = packet_id
                return packet_id

    def _send_publish(self, packet_id, message, dup=False, has_readers=True):
        message.transmissions += 1
        kind = mqtt.PUBACK if message.qos == 1 else mqtt.PUBREC
        self._expected[kind].append((packet_id, has_readers and not dup))
        properties = {"user_property": [("message", message.key)]} if self.version >= V5 else None
        self.site.ledger.note(message, self.name, "sends PUBLISH, packet id", packet_id,
                              "DUP" if dup else "")
        self.send(mqtt.publish(self.version, message.topic, message.payload, message.qos, packet_id,
                               retain=message.retain, dup=dup, properties=properties))

    def release_all(self):
        """PUBREL for everything that has its PUBREC and waits for it."""
        self.holds_releases = False
        if self.is_online:
            for packet_id in self._received:
                if not self._releases[packet_id]:
                    self._send_pubrel(packet_id)

    def _send_pubrel(self, packet_id):
        self._releases[packet_id] += 1
        self._expected[mqtt.PUBCOMP].append((packet_id, False))
        self.site.ledger.note(self._received[packet_id], self.name, "sends PUBREL, packet id",
                              packet_id)
        self.send(mqtt.ack(self.version, mqtt.PUBREL, packet_id))

    # ---- a connection

    def begin(self):
        self._expected = {kind: collections.deque()
                          for kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP)}
        if self.clean:
            self._give_up()
        for packet_id in list(self._received):
            if self._releases[packet_id] or not self.holds_releases:
                self.site.counts["PUBREL again"] += bool(self._releases[packet_id])
                self._send_pubrel(packet_id)
        for packet_id, message in self._sent.items():
            self.site.counts["PUBLISH again"] += 1
            self._send_publish(packet_id, message, dup=True)

    def _give_up(self):
        """Its session went with the connection: what was not acknowledged may be lost, or not."""
        self._sent.clear()
        self._received.clear()
        self._releases.clear()

    def on_packet(self, packet):
        if packet.kind not in self._expected:
            self.violation(f"nobody asked for {packet}")
        held = self._sent if packet.kind != mqtt.PUBCOMP else self._received
        message = held.get(packet.packet_id)
        if message is None:
            self.violation(f"acknowledges what was not sent: {packet}")
        self.site.ledger.note(message, self.name, "has", mqtt.NAMES[packet.kind], "packet id",
                              packet.packet_id, f"reason 0x{packet.reason:02x}")
        expected, has_readers = self._expected[packet.kind].popleft()
        if expected != packet.packet_id:
            self.violation(f"{mqtt.NAMES[packet.kind]} for packet id {packet.packet_id} comes "
                           f"before that for {expected}", message, held[expected])
        self._check_reason(packet, message, has_readers)
        del held[packet.packet_id]
        if packet.kind == mqtt.PUBCOMP:
            del self._releases[packet.packet_id]
            return
        self.site.counts["acknowledged"] += 1
        message.acknowledged = self.site.ledger.tick()
        message.life = self.life
        if packet.kind == mqtt.PUBREC:
            self.session_is_made()
            self._received[packet.packet_id] = message
            if not self.holds_releases:
                self._send_pubrel(packet.packet_id)

    def _check_reason(self, packet, message, has_readers):
        allowed = {0}
        if packet.kind == mqtt.PUBCOMP:
            # The PUBCOMP of an earlier PUBREL may have been lost; but not without one.
            if self._releases[packet.packet_id] > 1:
                allowed.add(NOT_FOUND)
        elif not has_readers:
            allowed.add(NO_SUBSCRIBERS)
        if packet.reason not in allowed:
            self.violation(f"{mqtt.NAMES[packet.kind]} with 0x{packet.reason:02x} for packet id "
                           f"{packet.packet_id}", message)
