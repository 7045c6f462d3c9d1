# SPDX-License-Identifier: Apache-2.0
"""A client whose session outlives its connections.

It connects, is cut off, connects again, and knows at each moment whether the node has to have its
session: Session Present must say so.
"""
import collections
import enum

import packets as mqtt
from loop import Connection
from packets import V5

RETRY_SECONDS = 0.005
EXPIRY_SECONDS = 3600
SHUTTING_DOWN = (0x8B, 0x88, 3)  # v5 DISCONNECT, v5 CONNACK, v3.1.1 CONNACK


class Session(enum.Enum):
    """What of the session of a client there is on the node."""
    NONE = "none"
    UNKNOWN = "unknown"  # a request that makes or ends it was sent and not answered
    THERE = "there"


class Site:
    """What all devices share.  `is_up`: the node is to serve; `life`: how often it was started."""

    def __init__(self, loop, ledger, random, address):
        self.loop, self.ledger, self.random, self.address = loop, ledger, random, address
        self.is_up = False
        self.life = 0
        self.counts = collections.Counter()


class Device:
    """One client.  `wanted`: it is to be online; it then connects as soon and as often as needed.

    Subclasses fill in begin() (CONNACK has come), on_packet() and lost() (the connection is gone).
    """

    def __init__(self, site, name, version, clean=False, properties=None):
        self.site, self.name, self.version = site, name, version
        self.clean = clean  # at its next CONNECT
        self.expiry_seconds = EXPIRY_SECONDS
        self.session = Session.NONE
        self.wanted = False
        self.is_online = False
        self.connections = 0  # CONNECTs sent
        self.unsent_since = 0  # tick: what was published later can only come on this connection
        self.life = 0  # of the node, at the last CONNECT
        self.connack = None
        self._properties = dict(properties or {})
        self._connection = None
        self._session_before = Session.NONE  # what CONNECT finds
        self._is_dialling = False
        self._is_leaving = False
        self._left = None  # (tick, connections, life) when it had left properly
        self._abandoned = []

    def __str__(self):
        return self.name

    # ---- for subclasses

    def begin(self):
        """CONNACK has come."""

    def on_packet(self, packet):
        """Any other packet has come."""

    def lost(self):
        """The connection has ended, however."""

    # ---- coming and going

    def come(self, seconds=0):
        """To be online from now on, or some time later."""
        self.wanted = True
        self._dial_after(seconds)

    def leave(self):
        """Goes offline with a DISCONNECT and waits for the node to close."""
        self.wanted = False
        if self.is_online:
            self._is_leaving = True
            self.send(mqtt.disconnect(self.version))
        else:
            self.cut()

    def cut(self):
        """Ends the connection without a word, and without reading what is on its way."""
        if self._connection is not None:
            self._connection.close()
            self._gone()

    def change_network(self):
        """Connects anew while the old connection stays open, unread."""
        if self._connection is not None:
            self._connection.abandon()
            self._abandoned.append(self._connection)
            self._gone()

    def send(self, raw):
        self._connection.send(raw)

    def violation(self, what, *messages):
        self.site.ledger.violation(f"{self}: {what}", *messages)

    # ---- a connection

    def _dial_after(self, seconds):
        if not self._is_dialling and self._connection is None:
            self._is_dialling = True
            self.site.loop.after(seconds, self._dial)

    def _dial(self):
        self._is_dialling = False
        if not self.wanted:
            return
        try:
            if not self.site.is_up:
                raise ConnectionRefusedError
            self._connection = Connection(self.site.loop, self.site.address, self.version,
                                          self._on_packet, self._on_end)
        except OSError:
            self._dial_after(RETRY_SECONDS)
            return
        self.life = self.site.life
        self.connections += 1
        self._is_leaving = False
        expiry = {} if self.clean else {"session_expiry": self.expiry_seconds}
        self.send(mqtt.connect(self.version, self.name, clean=self.clean, keep_alive=0,
                               properties={**self._properties, **expiry}))
        self._session_before = self.session
        if (self.session is Session.NONE) != self.clean:
            self.session = Session.UNKNOWN

    def _on_packet(self, packet):
        if packet.kind == mqtt.CONNACK:
            self._on_connack(packet)
        elif packet.kind == mqtt.DISCONNECT:
            if self._is_served() or packet.reason not in SHUTTING_DOWN:
                self.violation(f"was sent away with 0x{packet.reason:02x}")
        elif packet.kind != mqtt.PINGRESP:
            self.on_packet(packet)

    def _on_connack(self, connack):
        if connack.reason != 0:
            if self._is_served() or connack.reason not in SHUTTING_DOWN:
                self.violation(f"was refused with {connack.reason}")
            return
        self._check_session_present(connack.session_present)
        self.connack = connack
        self.is_online = True
        self.unsent_since = self.site.ledger.tick()
        if self._left is not None and self._left[1:] == (self.connections - 1, self.life):
            self.unsent_since = self._left[0]
        self._left = None
        for old in self._abandoned:
            old.close()
        self._abandoned.clear()
        self.begin()

    def _check_session_present(self, present):
        if self._session_before is Session.THERE and not present and not self.clean:
            self.violation("its session is lost: Session Present is 0")
        if present and (self.clean or self._session_before is Session.NONE):
            self.violation("Session Present is 1 for a session that has ended, or never was")
        if self.clean:
            self.session = Session.NONE
        elif present:
            self.session = Session.THERE

    def session_is_made(self):
        """The node has answered something that makes no sense without a session: it has to last.

        CONNACK alone is no promise: a session that is lost before anything was done in it was as
        good as never made, and Session Present tells.
        """
        if not self.clean:
            self.session = Session.THERE

    def _is_served(self):
        """Nothing has happened to the node that could end this connection."""
        return self.site.is_up and self.life == self.site.life

    def _on_end(self):
        if self._is_served():
            if not self._is_leaving:
                self.violation("the node has closed its connection")
            self._left = (self.site.ledger.tick(), self.connections, self.life)
        self._gone()

    def _gone(self):
        self._connection = None
        if self.is_online:
            self.is_online = False
            self.lost()
        if self.wanted:
            self._dial_after(self.site.random.choice((0, 0.002, 0.02, 0.1))
                             * self.site.random.random())

    def receive_maximum(self):
        """How many unacknowledged messages the node takes."""
        if self.version < V5:
            return 65535
        return self.connack.properties.get("receive_maximum", 65535)
