# SPDX-License-Identifier: Apache-2.0
"""A client whose sessions end, by a clean start or by their expiry, and must not come back.

      make: CONNECT, SUBSCRIBE ----> sleep: offline, messages wait
        ^                                |            |
        |                        clean start    expiry (MQTT 5)
        |                                v            |
        +---- gone, for some time <------+------------+

Whatever happens to the node in between: the next CONNECT finds nothing (device.py checks Session
Present), and no message comes before SUBSCRIBE is sent.
"""
import enum

import packets as mqtt
from device import Device, Session

SLEEP_SECONDS_MAX = 1.0
SHORT_EXPIRY_SECONDS = 1
# A node that was killed cannot know when its clients went: their expiry begins when it is back.
EXPIRY_SLACK_SECONDS = 2.5


class Phase(enum.Enum):
    MAKE, SLEEP, END, GONE = range(4)


class Ghost(Device):
    def __init__(self, site, name, version, topic_filter, expires):
        super().__init__(site, name, version)
        self._topic_filter = topic_filter
        self._expires = expires
        self._phase = Phase.GONE
        self._begun = 0  # tick: when the session that is being made was not there yet
        if expires:
            self.expiry_seconds = SHORT_EXPIRY_SECONDS
        self._next_after(0)

    def _next_after(self, seconds):
        self.site.loop.after(seconds, self._next)

    def _pause(self):
        return self.site.random.random() * SLEEP_SECONDS_MAX

    def _next(self):
        if self._phase is Phase.GONE:
            self._phase, self.clean = Phase.MAKE, False
            self._begun = self.site.ledger.tick()
            self.come()
        elif self._expires:
            self._phase = Phase.GONE
            self.session = Session.NONE
            self._next_after(self._pause())
        else:
            self._phase, self.clean = Phase.END, True
            self.come()

    def begin(self):
        if self._phase is Phase.MAKE:
            self.send(mqtt.subscribe(self.version, 1, [(self._topic_filter, 2)]))
            return
        self.site.counts["sessions ended"] += 1
        self._phase = Phase.GONE
        self.wanted = False
        if self.site.random.random() < 0.5:
            self.leave()
        else:
            self.cut()
        self._next_after(self._pause())

    def lost(self):
        if self._expires:
            self.session = Session.UNKNOWN

    def on_packet(self, packet):
        if packet.kind == mqtt.PUBLISH:
            self._check_is_new(packet)
            return
        if packet.kind != mqtt.SUBACK or packet.codes != [2]:
            self.violation(f"subscribing is answered with {packet}")
        self.session_is_made()
        self._phase = Phase.SLEEP
        self.wanted = False
        self.cut()
        if self._expires:
            self._next_after(SHORT_EXPIRY_SECONDS + EXPIRY_SLACK_SECONDS)
        else:
            self._next_after(self._pause())

    def _check_is_new(self, packet):
        """Messages may come before SUBACK, but not those that were settled before all this."""
        message = self.site.ledger.find(packet.payload.split(b" ", 1)[0].decode("ascii", "replace"))
        if self._phase is not Phase.MAKE or message is None or \
                (message.acknowledged or self._begun) < self._begun:
            self.violation(f"receives what waited for a session that has ended: {packet}",
                           *([message] if message else []))
