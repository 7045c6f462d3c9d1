# SPDX-License-Identifier: Apache-2.0
"""The peer protocol from the outside, to say wrong things in it: frames, hello, proof.

An independent writing-down of proto/link.h and proto/cluster.proto, as far as the handshake goes.
"""
import hashlib
import hmac
import os
import struct

from rig import check, patient

HELLO, PROOF, REFUSED = 1, 2, 3
HEARTBEAT, FACTS, VIEW, PROBE, PROBE_ANSWER, GOODBYE = 16, 17, 18, 19, 20, 21
DIGEST, TABLE_PIECE, TABLE_ACK, TABLE_REQUEST, TABLE_ANSWER = 24, 25, 26, 27, 28
FORWARD, FORWARD_RELAY, FORWARD_ACK, FORWARD_ACK_RELAY = 32, 33, 34, 35
KINDS = (HEARTBEAT, FACTS, VIEW, PROBE, PROBE_ANSWER, GOODBYE, DIGEST, TABLE_PIECE, TABLE_ACK,
         TABLE_REQUEST, TABLE_ANSWER, FORWARD, FORWARD_RELAY, FORWARD_ACK, FORWARD_ACK_RELAY)


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def frame(kind, body, version=1, flags=0, size=None, crc=None):
    head = struct.pack(">IBBH", len(body) if size is None else size, version, kind, flags)
    return head + struct.pack(">I", crc32c(head + body) if crc is None else crc) + body


# ---- as much of protobuf as is needed -----------------------------------------------------------


def varint(value):
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def number(tag, value):
    return varint(tag << 3) + varint(value) if value else b""


def fixed(tag, value):
    return varint(tag << 3 | 1) + struct.pack("<Q", value)


def blob(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value if value else b""


def fields(data):
    """{tag: last value}"""
    found, at = {}, 0

    def take():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        key = take()
        if key & 7 == 0:
            found[key >> 3] = take()
        elif key & 7 == 1:
            found[key >> 3] = struct.unpack("<Q", data[at:at + 8])[0]
            at += 8
        else:
            size = take()
            found[key >> 3] = data[at:at + size]
            at += size
    return found


def hello(cluster="grapevine", name="stranger", protocol=(1, 1), node_id=None, challenge=None,
          address="", start_counter=1, boot_id=None):
    boot_id = int.from_bytes(os.urandom(8), "big") if boot_id is None else boot_id
    return b"".join([
        number(1, protocol[0]), number(2, protocol[1]), blob(3, cluster),
        blob(4, os.urandom(16) if node_id is None else node_id), blob(5, name), blob(6, address),
        number(7, start_counter), fixed(8, boot_id),
        blob(9, os.urandom(32) if challenge is None else challenge), blob(11, "a test")])


def proof(secret, role, dialers, acceptors):
    said = (b"grapevine link, " + role.encode() + struct.pack(">II", len(dialers), len(acceptors)) +
            dialers + acceptors)
    return blob(1, hmac.new(secret.encode(), said, hashlib.sha256).digest())


class Peer:
    """A connection to a node's cluster port."""

    def __init__(self, node):
        self._socket = node.connect(node.cluster_port, patient(10))
        self._input = b""

    def send(self, data):
        """Whether it went out."""
        try:
            self._socket.sendall(data)
            return True
        except OSError:
            return False

    def receive(self, seconds=5):
        """(kind, body); None: the node has ended the connection."""
        self._socket.settimeout(patient(seconds))
        while True:
            if len(self._input) >= 12:
                size, _, kind, _, _ = struct.unpack(">IBBHI", self._input[:12])
                if len(self._input) >= 12 + size:
                    body = self._input[12:12 + size]
                    self._input = self._input[12 + size:]
                    return kind, body
            try:
                chunk = self._socket.recv(65536)
            except ConnectionError:
                return None
            if not chunk:
                return None
            self._input += chunk

    def receive_refusal(self):
        """The words with which the node ends the connection; '' without any."""
        words = ""
        while True:
            got = self.receive()
            if got is None:
                return words
            if got[0] in (REFUSED, GOODBYE):
                words = fields(got[1]).get(2, b"").decode()

    def join(self, secret="x", **about):
        """The whole handshake, as a dialer; an open link."""
        own = hello(**about)
        self.send(frame(HELLO, own))
        kind, theirs = self.receive()
        check(kind == HELLO, f"frame {kind} instead of a hello")
        self.send(frame(PROOF, proof(secret, "dialer", own, theirs)))
        kind, body = self.receive()
        check(kind == PROOF and body == proof(secret, "acceptor", own, theirs),
              f"frame {kind} instead of a right proof")
        return self

    def close(self):
        self._socket.close()
