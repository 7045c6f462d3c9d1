# SPDX-License-Identifier: Apache-2.0
"""A publisher that only knows one thing: more."""
import packets as mqtt
from loop import Connection
from packets import V311

WINDOW = 60000  # packet ids are not more


class Flood:
    """A publisher before v5, so without a limit of its own, that sends as long as it can."""

    def __init__(self, loop, node, number, size):
        self.acknowledged = self.sent = 0
        self.number, self._size = number, size
        self._connection = Connection(loop, ("127.0.0.1", node.port), V311, self._on_packet,
                                      self._on_end)
        self._connection.send(mqtt.connect(V311, f"flood{number}"))
        self._is_connected = self.has_ended = False

    def payload(self, i):
        return f"{self.number}:{i} ".encode().ljust(self._size, b".")

    def fill(self):
        while self._is_connected and not self.has_ended and self._connection.waiting() < (1 << 20) \
                and self.sent - self.acknowledged < WINDOW:
            self._connection.send(mqtt.publish(V311, f"flood/{self.number}", self.payload(self.sent),
                                               1, self.sent % 65535 + 1))
            self.sent += 1

    def _on_packet(self, packet):
        if packet.kind == mqtt.PUBACK:
            self.acknowledged += 1
        self._is_connected = True

    def _on_end(self):
        self.has_ended = True
