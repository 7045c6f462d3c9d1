# SPDX-License-Identifier: Apache-2.0
"""The ledger: every message with its history, and what of it may not happen.

A message is known by its key, PUBLISHER:NUMBER, which is the first word of its payload.  Everything
that happens to it is noted with the time: who sent it, who acknowledged it, who received it.  Ticks
order what happens: of two events the one with the lower tick was known to the clients before the
other one began.
"""
import itertools
import time

from harness import Failure

SHOWN_EVENTS_MAX = 60


class Message:
    """What a publisher has published.  Ticks are None for what has not happened."""

    __slots__ = ("key", "number", "topic", "qos", "retain", "size", "sent", "acknowledged",
                 "life", "transmissions", "events")

    def __init__(self, key, number, topic, qos, retain, size):
        self.key, self.number = key, number
        self.topic, self.qos, self.retain, self.size = topic, qos, retain, size
        self.sent = self.acknowledged = None
        self.life = None  # of the node that has acknowledged it
        self.transmissions = 0
        self.events = []

    @property
    def payload(self):
        """None of a message is kept: its payload follows from its key and size.  Size 0: empty."""
        word = (self.key + " ").encode()
        return (word * (self.size // len(word) + 1))[:self.size]

    def __str__(self):
        return f"{self.key} ({self.topic}, QoS {self.qos}{', retained' if self.retain else ''})"


class Ledger:
    def __init__(self):
        self.messages = {}
        self._forgotten = {}
        self._common = []  # events of the node
        self._ticks = itertools.count(1)
        self._began = time.monotonic()

    def tick(self):
        return next(self._ticks)

    # ---- what happens

    def add(self, message):
        self.messages[message.key] = message

    def note(self, message, *words):
        """One more event in the history of a message; the words are joined when it is shown."""
        message.events.append((time.monotonic(), words))

    def note_node(self, *words):
        """An event that concerns everybody, such as the end of the node."""
        self._common.append((time.monotonic(), words))

    def find(self, key):
        """The message, or None; those forgotten lately are found too."""
        return self.messages.get(key) or self._forgotten.get(key)

    def forget(self):
        """All messages are settled."""
        self._forgotten, self.messages = self.messages, {}
        del self._common[:-20]

    # ---- what may not happen

    def history(self, message):
        """The events of a message and of the node, as lines of text."""
        begin = message.events[0][0] if message.events else 0
        events = sorted([*message.events, *(e for e in self._common if e[0] >= begin)],
                        key=lambda event: event[0])
        lines = [f"{at - self._began:10.4f} s  {' '.join(map(str, words))}" for at, words in events]
        left_out = len(lines) - SHOWN_EVENTS_MAX
        if left_out > 0:
            half = SHOWN_EVENTS_MAX // 2
            lines[half:-half] = [f"... {left_out} more"]
        return lines

    def violation(self, what, *messages):
        """Tells the history of the messages and ends the run."""
        for message in messages:
            print(f"# history of {message}:")
            for line in self.history(message):
                print(f"#   {line}")
        raise Failure(what)


def matches(topic_filter, topic):
    """Whether a topic filter takes a topic (neither begins with $)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)
