# SPDX-License-Identifier: Apache-2.0
"""A persistent subscriber that looks closely at what it gets.

An instance is one delivery of a message under one packet id, with all its repetitions.  Checked when
a message comes:

- It is one that was published, to a filter of this session, at the right QoS, with its payload.
- What this client has not finished comes again on the next connection, with the same packet id and
  DUP, in the same order, before anything new, and never within one connection.
- What it has finished comes again only if the node cannot know that (its last acknowledgement may
  be lost): at QoS 1 the message, at QoS 2 only PUBREL.
- There are no more instances than the publisher's transmissions at QoS 1, and one at QoS 2.  Those
  after the first may come when everything else has come to its end.
- DUP is not set on what cannot have been sent before.
- The first instances are in the order of the publisher, per topic and QoS.
- No more messages are under way than the client's receive maximum.
"""
import packets as mqtt
from device import Device
from ledger import matches
from packets import V5


class Instance:
    """A delivery that this client has not finished, or has lately."""

    __slots__ = ("message", "qos", "identifiers", "number", "life", "connection", "is_received",
                 "is_released")

    def __init__(self, message, packet, number, life):
        self.message, self.qos = message, packet.qos
        self.identifiers = packet.properties.get("subscription_id")
        self.number = number      # in the order of first receipt
        self.life = life          # of the node, then
        self.connection = None    # the last one it came on
        self.is_received = False  # QoS 2: PUBREC was sent
        self.is_released = False  # QoS 2: PUBREL has come

    def may_be_forgotten(self, life):
        """
        A node may send a QoS 1 message before it is safe.  If it dies then, it knows nothing of it;
        its publisher has no acknowledgement and sends it again.
        """
        acknowledged = self.message.life
        return self.qos == 1 and life > self.life and (
            acknowledged is None or acknowledged > self.life)


class Subscriber(Device):
    """Subscribed to `topic_filter` at `qos` from its first connection on.

    ack_seconds: how long its acknowledgements wait at most; they go in order.
    """

    def __init__(self, site, name, version, topic_filter, qos, receive_maximum=None, ack_seconds=0):
        properties = {"receive_maximum": receive_maximum} if receive_maximum else None
        super().__init__(site, name, version, properties=properties)
        self.topic_filter, self.qos = topic_filter, qos
        self.is_shared = topic_filter is not None and topic_filter.startswith("$share/")
        self.is_subscribed = False
        self.seen = {}           # key of a message: how many instances
        self._seen_once = set()  # keys of messages that have come at QoS 2
        self._window = receive_maximum or 65535
        self._ack_seconds = ack_seconds
        self._open = {}          # packet id: unfinished instance, in the order received
        self._finished = {}      # packet id: the last finished instance
        self._again = []         # packet ids that have to come again before anything new
        self._acks = []          # acknowledgements that wait: (kind, packet id)
        self._under_way = set()  # packet ids of this connection's messages
        self._instances = 0
        self._last = {}          # (publisher, topic, QoS): the last first instance

    # ---- coming and going

    def begin(self):
        self._under_way.clear()
        for packet_id in [packet_id for packet_id, instance in self._open.items()
                          if instance.may_be_forgotten(self.life)]:
            self._finish(packet_id)
        self._again = [packet_id for packet_id, instance
                       in sorted(self._open.items(), key=lambda item: item[1].number)
                       if not instance.is_received]
        if not self.is_subscribed:
            self.subscribe()

    def subscribe(self):
        self.send(mqtt.subscribe(self.version, 1, [(self.topic_filter, self.qos)]))

    def lost(self):
        self._acks.clear()

    def is_settled(self):
        """All that it has received is finished, and nothing waits to be sent."""
        return not self._open and not self._acks

    def unfinished(self):
        """The messages it has not finished."""
        return [instance.message for instance in self._open.values()]

    def wants(self, message):
        """Whether its session, or another member of its group, has to get the message."""
        parts = self.topic_filter.split("/", 2)
        return matches(parts[2] if self.is_shared else self.topic_filter, message.topic)

    def forget(self):
        """All messages are settled."""
        self.seen.clear()
        self._seen_once.clear()

    def qos_of(self, message):
        """The QoS a message has to come with."""
        return min(self.qos, message.qos)

    # ---- packets

    def on_packet(self, packet):
        if packet.kind == mqtt.PUBLISH:
            self._on_publish(packet)
        elif packet.kind == mqtt.PUBREL:
            self._on_pubrel(packet)
        else:
            self.on_answer(packet)

    def on_answer(self, packet):
        """SUBACK or UNSUBACK."""
        if packet.kind != mqtt.SUBACK or packet.codes != [self.qos]:
            self.violation(f"subscribing to {self.topic_filter} is answered with {packet}")
        self.is_subscribed = True
        self.session_is_made()

    def _on_publish(self, packet):
        if packet.qos == 0:
            self.violation(f"QoS 0 for a message of QoS 1 or 2: {packet}")
        message = self._identify(packet)
        self.site.counts["delivered"] += 1
        self.site.ledger.note(message, self.name, "receives PUBLISH, packet id", packet.packet_id,
                              "DUP" if packet.dup else "", f"QoS {packet.qos}",
                              f"connection {self.connections}")
        self._check_content(packet, message)
        instance = self._open.get(packet.packet_id)
        if instance is not None:
            self._check_again(packet, message, instance)
        else:
            instance = self._finished.get(packet.packet_id)
            if not self._is_late_repetition(packet, message, instance):
                instance = self._first_time(packet, message)
            self._open[packet.packet_id] = instance
        self._check_same(packet, message, instance)
        instance.connection = self.connections
        self._under_way.add(packet.packet_id)
        if len(self._under_way) > self._window:
            self.violation(f"{len(self._under_way)} messages under way with a receive maximum of "
                           f"{self._window}", message)
        self._acknowledge(mqtt.PUBACK if instance.qos == 1 else mqtt.PUBREC, packet.packet_id)

    def _identify(self, packet):
        key = packet.payload.split(b" ", 1)[0].decode("ascii", "replace")
        for place in (self._open, self._finished):
            instance = place.get(packet.packet_id)
            if instance is not None and instance.message.key == key:
                return instance.message
        message = self.site.ledger.find(key)
        if message is None:
            self.violation(f"receives what nobody has published, or what was settled: {packet}")
        return message

    def _check_content(self, packet, message):
        if packet.topic != message.topic or packet.payload != message.payload:
            self.violation(f"receives another topic or payload than was published: {packet}",
                           message)
        if packet.retain:
            self.violation("RETAIN is set on a message that was not kept for it", message)
        told = packet.properties.get("user_property")
        if self.version >= V5 and told not in (None, [("message", message.key)]):
            self.violation(f"the message has come with properties {told}", message)

    def check_subscription(self, packet, message):
        """Whether there is a subscription that brings this message in this way."""
        if not self.wants(message):
            self.violation(f"receives {message.topic}, has subscribed {self.topic_filter}", message)
        if packet.qos != self.qos_of(message):
            self.violation(f"receives QoS {packet.qos} instead of {self.qos_of(message)}", message)

    # ---- repetitions

    def _check_again(self, packet, message, instance):
        """A packet id that this client has not finished."""
        if instance.message is not message:
            self.violation(f"packet id {packet.packet_id} is used for {message} while "
                           f"{instance.message} is not finished", instance.message, message)
        if instance.connection == self.connections:
            self.violation("comes twice on one connection", message)
        if instance.is_released:
            self.violation("QoS 2: comes again though PUBREL has come for it", message)
        if not packet.dup:
            self.violation(f"comes again without DUP, packet id {packet.packet_id}", message)
        self.site.counts["delivered again"] += 1
        if packet.packet_id in self._again:
            # PUBREC may have been lost, so those with PUBREC sent may come as well.
            if packet.packet_id != self._again[0]:
                self.violation(f"packet id {packet.packet_id} comes again before "
                               f"{self._again[0]}", message, self._open[self._again[0]].message)
            del self._again[0]
        instance.is_received = False

    def _check_same(self, packet, message, instance):
        if packet.qos != instance.qos or \
                packet.properties.get("subscription_id") != instance.identifiers:
            self.violation(f"came with QoS {instance.qos} and subscription identifiers "
                           f"{instance.identifiers}, comes again as {packet}", message)

    def _is_late_repetition(self, packet, message, instance):
        """Of a message whose last acknowledgement the node may not have got."""
        if instance is None or instance.message is not message or not packet.dup:
            return False
        if instance.connection == self.connections:
            self.violation("comes again though it was acknowledged on this connection", message)
        if instance.qos == 2:
            self.violation("QoS 2: comes again though PUBREL has come for it", message)
        self.site.counts["delivered again, late"] += 1
        return True

    def _first_time(self, packet, message):
        if self._again:
            waits = self._open[self._again[0]].message
            self.violation(f"a new message comes before packet id {self._again[0]} comes again",
                           waits, message)
        is_late = message.key not in self.site.ledger.messages
        if is_late and (packet.qos == 2 or message.transmissions == 1):
            self.violation("comes again though it was settled", message)
        self.check_subscription(packet, message)
        count = self.seen[message.key] = self.seen.get(message.key, 0) + 1
        if count > message.transmissions or packet.qos == 2 and message.key in self._seen_once:
            self.violation(f"QoS {packet.qos}: comes for the {count}. time, under another packet "
                           f"id; it was sent {message.transmissions} times", message)
        if packet.qos == 2:
            self._seen_once.add(message.key)
        if packet.dup and message.sent > self.unsent_since:
            self.violation("DUP is set on a message that was not sent before", message)
        self._instances += 1
        instance = Instance(message, packet, self._instances, self.life)
        if count == 1 and not is_late and not self.is_shared:
            self._check_order(instance)
        return instance

    def may_be_late(self, message):
        """Whether a message may come for the first time after later ones."""
        return False

    def _check_order(self, instance):
        message = instance.message
        stream = (message.key.split(":")[0], message.topic, message.qos)
        last = self._last.get(stream)
        if last is not None and last.message.number >= message.number and \
                not last.may_be_forgotten(self.life) and not self.may_be_late(message):
            self.violation(f"{message.key} comes after {last.message.key}, both {message.topic}, "
                           f"QoS {message.qos}", last.message, message)
        self._last[stream] = instance

    # ---- our acknowledgements

    def _on_pubrel(self, packet):
        packet_id = packet.packet_id
        instance = self._open.get(packet_id)
        if instance is None:
            instance = self._finished.get(packet_id)
            if instance is None or instance.qos != 2:
                self.violation(f"PUBREL for packet id {packet_id}, which is not in use")
            if instance.connection == self.connections:
                self.violation("PUBREL again on one connection", instance.message)
        elif instance.qos != 2 or not instance.is_received:
            self.violation("PUBREL without a PUBREC", instance.message)
        self.site.ledger.note(instance.message, self.name, "receives PUBREL, packet id", packet_id,
                              f"connection {self.connections}")
        instance.is_released = True
        instance.connection = self.connections
        self._acknowledge(mqtt.PUBCOMP, packet_id)

    def _acknowledge(self, kind, packet_id):
        self._acks.append((kind, packet_id))
        if len(self._acks) > 1:
            return
        if self._ack_seconds == 0:
            self._send_acks()
        else:
            connection = self.connections
            self.site.loop.after(self.site.random.random() * self._ack_seconds,
                                 lambda: self._send_acks_of(connection))

    def _send_acks_of(self, connection):
        if connection == self.connections and self.is_online:
            self._send_acks()

    def _send_acks(self):
        acks, self._acks = self._acks, []
        for kind, packet_id in acks:
            self.send(mqtt.ack(self.version, kind, packet_id))
            if kind == mqtt.PUBREC:
                self._open[packet_id].is_received = True
            else:
                self._finish(packet_id)

    def _finish(self, packet_id):
        self._under_way.discard(packet_id)
        instance = self._open.pop(packet_id, None)
        if instance is not None:
            self._finished[packet_id] = instance
