# SPDX-License-Identifier: Apache-2.0
"""A persistent subscriber that subscribes and unsubscribes all the time.

After SUBACK or UNSUBACK its filters are as it has asked, until it asks for something else, whatever
happens to the node.  In between, and when the answer was lost, either may be true; it then asks
again.  With MQTT 5 each SUBSCRIBE has an identifier of its own, which comes with the messages and so
tells which one is in force.
"""
import itertools

import packets as mqtt
from ledger import matches
from packets import V5
from subscriber import Subscriber

NO_SUBSCRIPTION = 0x11


class Operation:
    """SUBSCRIBE to a filter (at `qos`), or UNSUBSCRIBE from it (`qos` is None)."""

    def __init__(self, topic_filter, qos, identifier):
        self.topic_filter, self.qos, self.identifier = topic_filter, qos, identifier
        self.sent = self.answered = None  # ticks

    def __str__(self):
        what = "UNSUBSCRIBE" if self.qos is None else f"SUBSCRIBE QoS {self.qos}"
        return f"{what} {self.topic_filter} (identifier {self.identifier})"


class Changer(Subscriber):
    """`filters` do not overlap."""

    def __init__(self, site, name, version, filters, ack_seconds=0):
        super().__init__(site, name, version, None, None, ack_seconds=ack_seconds)
        self._numbers = itertools.count(1)
        self._operations = {topic_filter: [] for topic_filter in filters}  # in the order sent
        self._asked = {}  # packet id: operation without its answer

    # ---- changing

    def change(self):
        """Asks for something else, for one of its filters."""
        random = self.site.random
        topic_filter = random.choice(list(self._operations))
        if self.is_online and not self._is_asked(topic_filter):
            qos = random.choice((1, 2, 2, None))
            self._ask(Operation(topic_filter, qos, next(self._numbers)))

    def _is_asked(self, topic_filter):
        return any(one.topic_filter == topic_filter for one in self._asked.values())

    def _ask(self, operation):
        packet_id = next(self._numbers) % 65535 + 1
        self._asked[packet_id] = operation
        operation.sent = self.site.ledger.tick()
        self._operations[operation.topic_filter].append(operation)
        self.site.ledger.note_node(self.name, "sends", operation)
        if operation.qos is None:
            self.send(mqtt.unsubscribe(self.version, packet_id, [operation.topic_filter]))
            return
        properties = {"subscription_id": operation.identifier} if self.version >= V5 else None
        self.send(mqtt.subscribe(self.version, packet_id,
                                 [(operation.topic_filter, operation.qos)], properties))

    def subscribe(self):
        """A connection begins: what was not answered is asked again."""
        unanswered, self._asked = self._asked, {}
        for old in unanswered.values():
            self._ask(Operation(old.topic_filter, old.qos, old.identifier))

    def on_answer(self, packet):
        operation = self._asked.pop(packet.packet_id, None)
        if operation is None or (packet.kind == mqtt.UNSUBACK) != (operation.qos is None):
            self.violation(f"nobody asked for {packet}")
        codes = getattr(packet, "codes", [0])
        if codes != [operation.qos or 0] and not self._may_be_unsubscribed(operation, codes):
            self.violation(f"{operation} is answered with {packet}")
        if packet.kind == mqtt.SUBACK:
            self.session_is_made()
        operation.answered = self.site.ledger.tick()
        self.site.ledger.note_node(self.name, "has the answer to", operation)
        self.site.counts["subscriptions changed"] += 1

    def _may_be_unsubscribed(self, operation, codes):
        """UNSUBACK may say that there was no subscription, if that is possible."""
        if operation.qos is not None or codes != [NO_SUBSCRIPTION]:
            return False
        earlier = self._operations[operation.topic_filter]
        earlier = earlier[:earlier.index(operation)]
        return not earlier or any(one.qos is None for one in self._since_answered(earlier))

    @staticmethod
    def _since_answered(operations):
        """The last answered operation and those after it; all if none was answered."""
        last = max((i for i, one in enumerate(operations) if one.answered is not None), default=0)
        return operations[last:]

    # ---- what it is to get

    def is_settled(self):
        return not self._asked and super().is_settled()

    def _operations_for(self, message):
        for topic_filter, operations in self._operations.items():
            if matches(topic_filter, message.topic):
                return operations
        return []

    def wants(self, message):
        """Subscribed before it was sent, and not asked for anything but SUBSCRIBE since."""
        operations = self._operations_for(message)
        before = [i for i, one in enumerate(operations)
                  if one.answered is not None and one.answered < message.sent]
        return bool(before) and all(one.qos is not None for one in operations[before[-1]:])

    def check_subscription(self, packet, message):
        operations = self._operations_for(message)
        before = [i for i, one in enumerate(operations)
                  if one.answered is not None and one.answered < message.sent]
        possible = operations[before[-1] if before else 0:]
        for one in possible:
            if one.qos is not None and min(one.qos, message.qos) == packet.qos and (
                    self.version < V5 or packet.properties.get("subscription_id") ==
                    [one.identifier]):
                return
        self.violation(f"receives QoS {packet.qos} with {packet.properties}; in force may be: "
                       f"{', '.join(map(str, possible)) or 'nothing'}", message)

    def may_be_late(self, message):
        """Subscribed after its first transmission, and before the one that brought it."""
        return message.qos == 1 and message.transmissions > 1

    def forget(self):
        super().forget()
        for operations in self._operations.values():
            del operations[:-1]
