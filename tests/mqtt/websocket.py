# SPDX-License-Identifier: Apache-2.0
"""A raw MQTT client over WebSocket (RFC 6455), as client.py is one over TCP."""

import base64
import hashlib
import os

from client import Client

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", fin=True, masked=True, size=None, rsv=0):
    """`size` is there to lie, in the form its number needs."""
    size = len(payload) if size is None else size
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 1 << 16:
        head += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def request(path="/mqtt", **changes):
    """The upgrade request; a header set to None is left out."""
    headers = {"Host": "test", "Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": base64.b64encode(bytes(range(16))).decode(),
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt"}
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"GET {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in headers.items() if v is not None]
    return "\r\n".join(lines + ["", ""]).encode()


def proof_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


class WebSocketClient(Client):
    """send() wraps in one binary frame; `controls` are the control frames that came."""

    def __init__(self, address, version, client_id=None, handshake=True, **options):
        super().__init__(address, version, client_id, **options)
        self._frames = bytearray()
        self.controls = []
        self.status, self.headers = None, {}
        if handshake:
            self.shake_hands()

    def shake_hands(self, raw=None):
        """Sends a request and reads the answer; returns the status, None if there was none."""
        super().send(request() if raw is None else raw)
        answer = b""
        while b"\r\n\r\n" not in answer:
            try:
                chunk = self.socket.recv(4096)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                return None
            answer += chunk
        head, _, rest = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        if self.status == 101:
            self._buffer += self._unwrap(rest)
        return self.status

    def send(self, raw):
        self.send_frames(frame(BINARY, raw))

    def send_frames(self, raw):
        super().send(raw)

    def _unwrap(self, chunk):
        self._frames += chunk
        payload = b""
        while len(self._frames) >= 2:
            first, size, at = self._frames[0], self._frames[1], 2
            assert size < 0x80, "a server does not mask"
            assert first & 0x70 == 0, "reserved bits"
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(self._frames[2:2 + width], "big"), 2 + width
            if len(self._frames) < at + size:
                break
            data = bytes(self._frames[at:at + size])
            del self._frames[:at + size]
            opcode = first & 15
            if opcode >= CLOSE:
                self.controls.append((opcode, data))
            else:
                assert opcode in (BINARY, CONTINUATION), "[MQTT-6.0.0-1] a text frame of a server"
                payload += data
        return payload
