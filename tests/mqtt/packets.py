# SPDX-License-Identifier: Apache-2.0
"""
MQTT 3.1, 3.1.1 and 5 as bytes, for tests.

Two halves.  Encoders make what a client sends; they check nothing, so that a test can send what is
wrong.  The decoder takes what a server sends and is strict: whatever the standards do not allow
raises Violation with the statement that was broken, so every test is also a test of the server's
grammar.

This is no MQTT library: nothing happens by itself here.
"""

import struct

V31, V311, V5 = 3, 4, 5

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = range(8, 12)
PINGREQ, PINGRESP, DISCONNECT, AUTH = range(12, 16)

NAMES = ["RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
         "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT",
         "AUTH"]

WILL = 16  # the place of will properties, as if it were a packet


class Violation(AssertionError):
    """The server sent what it may not send."""


# ---- properties -----------------------------------------------------------------------------

# name: (identifier, kind, packets it may stand in)
PROPERTIES = {
    "payload_format": (1, "byte", {PUBLISH, WILL}),
    "message_expiry": (2, "u32", {PUBLISH, WILL}),
    "content_type": (3, "text", {PUBLISH, WILL}),
    "response_topic": (8, "text", {PUBLISH, WILL}),
    "correlation_data": (9, "data", {PUBLISH, WILL}),
    "subscription_id": (11, "varint", {PUBLISH, SUBSCRIBE}),
    "session_expiry": (17, "u32", {CONNECT, CONNACK, DISCONNECT}),
    "assigned_client_id": (18, "text", {CONNACK}),
    "server_keep_alive": (19, "u16", {CONNACK}),
    "authentication_method": (21, "text", {CONNECT, CONNACK, AUTH}),
    "authentication_data": (22, "data", {CONNECT, CONNACK, AUTH}),
    "request_problem_information": (23, "byte", {CONNECT}),
    "will_delay": (24, "u32", {WILL}),
    "request_response_information": (25, "byte", {CONNECT}),
    "response_information": (26, "text", {CONNACK}),
    "server_reference": (28, "text", {CONNACK, DISCONNECT}),
    "reason_string": (31, "text", {CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK,
                                   DISCONNECT, AUTH}),
    "receive_maximum": (33, "u16", {CONNECT, CONNACK}),
    "topic_alias_maximum": (34, "u16", {CONNECT, CONNACK}),
    "topic_alias": (35, "u16", {PUBLISH}),
    "maximum_qos": (36, "byte", {CONNACK}),
    "retain_available": (37, "byte", {CONNACK}),
    "user_property": (38, "pair", {CONNECT, CONNACK, PUBLISH, WILL, PUBACK, PUBREC, PUBREL, PUBCOMP,
                                   SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH}),
    "maximum_packet_size": (39, "u32", {CONNECT, CONNACK}),
    "wildcard_available": (40, "byte", {CONNACK}),
    "subscription_ids_available": (41, "byte", {CONNACK}),
    "shared_available": (42, "byte", {CONNACK}),
}
BY_ID = {row[0]: (name, row[1], row[2]) for name, row in PROPERTIES.items()}


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def varint(value):
    out = bytearray()
    while True:
        byte, value = value & 0x7f, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def data(value):
    """Bytes or text with their length in front."""
    value = as_bytes(value)
    return struct.pack(">H", len(value)) + value


def prop(name, value):
    """One property: identifier and value."""
    identifier, kind, _ = PROPERTIES[name]
    return bytes([identifier]) + {
        "byte": lambda: bytes([value]),
        "u16": lambda: struct.pack(">H", value),
        "u32": lambda: struct.pack(">I", value),
        "varint": lambda: varint(value),
        "text": lambda: data(value),
        "data": lambda: data(value),
        "pair": lambda: data(value[0]) + data(value[1]),
    }[kind]()


def props(*pairs, **named):
    """
    A property block with its length: props(topic_alias=1, user_property=[("a", "b")]).  A list of
    values is the property several times; positional arguments are raw bytes.
    """
    body = b"".join(pairs)
    for name, value in named.items():
        for one in value if isinstance(value, list) else [value]:
            body += prop(name, one)
    return varint(len(body)) + body


def block(version, properties):
    """The property block of a packet: nothing before v5, bytes as they are, a dict encoded."""
    if version < V5:
        return b""
    return properties if isinstance(properties, bytes) else props(**(properties or {}))


# ---- what a client sends ---------------------------------------------------------------------


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


class Will:
    def __init__(self, topic, payload=b"", qos=0, retain=False, properties=None):
        self.topic, self.payload, self.qos, self.retain = topic, payload, qos, retain
        self.properties = properties


def connect(version, client_id, clean=True, keep_alive=60, will=None, username=None, password=None,
            properties=None, flags=None, name=None, level=None, tail=b""):
    """`flags`, `name`, `level` and `tail` are there to be wrong."""
    if flags is None:
        flags = 0x02 if clean else 0
        flags |= 0x80 if username is not None else 0
        flags |= 0x40 if password is not None else 0
        if will:
            flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
    if name is None:
        name = "MQIsdp" if version == V31 else "MQTT"
    body = data(name) + bytes([version if level is None else level, flags])
    body += struct.pack(">H", keep_alive) + block(version, properties) + data(client_id)
    if will:
        body += block(version, will.properties) + data(will.topic) + data(will.payload)
    for credential in (username, password):
        if credential is not None:
            body += data(credential)
    return packet(CONNECT, 0, body + tail)


def publish(version, topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False,
            properties=None):
    body = data(topic)
    if qos > 0:
        body += struct.pack(">H", packet_id)
    body += block(version, properties) + as_bytes(payload)
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body)


def ack(version, kind, packet_id, reason=None, properties=None, flags=None):
    body = struct.pack(">H", packet_id)
    if version >= V5 and (reason is not None or properties is not None):
        body += bytes([reason or 0])
        if properties is not None:
            body += block(version, properties)
    return packet(kind, (2 if kind == PUBREL else 0) if flags is None else flags, body)


def subscribe(version, packet_id, filters, properties=None, flags=2):
    """`filters`: pairs of a filter and its options byte."""
    body = struct.pack(">H", packet_id) + block(version, properties)
    for text, options in filters:
        body += data(text) + bytes([options])
    return packet(SUBSCRIBE, flags, body)


def unsubscribe(version, packet_id, filters, properties=None, flags=2):
    body = struct.pack(">H", packet_id) + block(version, properties)
    return packet(UNSUBSCRIBE, flags, body + b"".join(data(text) for text in filters))


def pingreq():
    return packet(PINGREQ, 0, b"")


def disconnect(version, reason=None, properties=None):
    body = b""
    if version >= V5 and (reason is not None or properties is not None):
        body = bytes([reason or 0])
        if properties is not None:
            body += block(version, properties)
    return packet(DISCONNECT, 0, body)


def auth(reason=0x18, properties=None):
    return packet(AUTH, 0, bytes([reason]) + block(V5, properties))


# ---- what a server sends ---------------------------------------------------------------------

REASONS = {
    CONNACK: {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95,
              0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f},
    PUBACK: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0, 0x92},
    PUBCOMP: {0, 0x92},
    SUBACK: {0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
    UNSUBACK: {0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
    # those a server may send
    DISCONNECT: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
                 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
    AUTH: {0, 0x18, 0x19},
}
REASON_STATEMENTS = {CONNACK: "3.2.2-8", PUBACK: "3.4.2-1", PUBREC: "3.5.2-1", PUBREL: "3.6.2-1",
                     PUBCOMP: "3.7.2-1", SUBACK: "3.9.3-2", UNSUBACK: "3.11.3-2",
                     DISCONNECT: "3.14.2-1", AUTH: "3.15.2-1"}


def insist(condition, statement, why):
    if not condition:
        raise Violation(f"[MQTT-{statement}] {why}")


class Cursor:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def left(self):
        return len(self.raw) - self.at

    def take(self, size):
        insist(self.left() >= size, "4.13.1-1", "packet ends inside a field")
        self.at += size
        return self.raw[self.at - size:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def data(self):
        return self.take(self.u16())

    def text(self):
        raw = self.data()
        try:
            text = raw.decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise Violation(f"[MQTT-1.5.4-1] not UTF-8: {raw!r}") from None
        insist("\0" not in text, "1.5.4-2", "U+0000 in a string")
        return text

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                insist(byte > 0 or shift == 0, "1.5.5-1", "a variable byte integer that is too long")
                return value
            shift += 7
            insist(shift < 28, "1.5.5-1", "a variable byte integer of five bytes")


def decode_props(cursor, place):
    """A dict of name to value; user_property and subscription_id to lists of values."""
    inner = Cursor(cursor.take(cursor.varint()))
    found = {}
    while inner.left():
        identifier = inner.varint()
        insist(identifier in BY_ID, "2.2.2-2", f"unknown property {identifier}")
        name, kind, places = BY_ID[identifier]
        insist(place in places, "2.2.2-2", f"{name} in {NAMES[place]}")
        value = {"byte": inner.u8, "u16": inner.u16, "u32": inner.u32, "varint": inner.varint,
                 "text": inner.text, "data": inner.data,
                 "pair": lambda: (inner.text(), inner.text())}[kind]()
        if kind == "byte":
            insist(value in (0, 1), "3.2.2", f"{name} is {value}")
        if name in ("user_property", "subscription_id"):
            found.setdefault(name, []).append(value)
            continue
        insist(name not in found, "3.2.2", f"{name} twice")
        found[name] = value
    for name in ("receive_maximum", "maximum_packet_size", "topic_alias"):
        insist(found.get(name) != 0, "3.3.2-8", f"{name} is 0")
    return found


class Packet:
    """A decoded packet of the server: `kind`, `flags`, `raw` and what its kind has."""

    def __init__(self, kind, flags, body, raw):
        self.kind, self.flags, self.body, self.raw = kind, flags, body, raw
        self.properties = {}
        self.packet_id = None
        self.reason = 0

    def __repr__(self):
        shown = {k: v for k, v in vars(self).items() if k not in ("kind", "body", "raw", "flags")}
        if isinstance(shown.get("payload"), bytes) and len(shown["payload"]) > 60:
            shown["payload"] = shown["payload"][:60] + b"..."
        return f"{NAMES[self.kind]}{shown}"


def decode(version, raw):
    """One whole packet of a server."""
    cursor = Cursor(raw)
    first = cursor.u8()
    size = cursor.varint()
    insist(size == cursor.left(), "2.1.4", "remaining length")
    p = Packet(first >> 4, first & 15, raw[cursor.at:], raw)
    insist(p.kind in (CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP,
                      DISCONNECT, AUTH), "2.1.2", f"{NAMES[p.kind]} from a server")
    if p.kind != PUBLISH:
        insist(p.flags == (2 if p.kind == PUBREL else 0), "2.1.3-1", f"flags {p.flags}")
    if p.kind in (DISCONNECT, AUTH):
        insist(version >= V5, "2.1.2", f"{NAMES[p.kind]} to a client before v5")
    {CONNACK: decode_connack, PUBLISH: decode_publish, PUBACK: decode_ack, PUBREC: decode_ack,
     PUBREL: decode_ack, PUBCOMP: decode_ack, SUBACK: decode_suback, UNSUBACK: decode_suback,
     PINGRESP: lambda *_: None, DISCONNECT: decode_ending, AUTH: decode_ending}[p.kind](
         version, p, cursor)
    insist(cursor.left() == 0, "4.13.1-1", f"{cursor.left()} bytes too many in {NAMES[p.kind]}")
    if version >= V5 and p.kind in REASONS:
        for reason in getattr(p, "codes", [p.reason]):
            insist(reason in REASONS[p.kind], REASON_STATEMENTS[p.kind],
                   f"reason 0x{reason:02x} in {NAMES[p.kind]}")
    return p


def decode_connack(version, p, cursor):
    flags = cursor.u8()
    insist(flags in (0, 1), "3.2.2-1", f"CONNACK flags {flags}")
    p.session_present = flags == 1
    p.reason = cursor.u8()
    # Who does not know the client's version answers in its own: 3.1.1 has 1 for that, v5 0x84.
    if (p.reason == 1 and cursor.left() == 0) or (p.reason == 0x84 and cursor.left() == 1):
        cursor.take(cursor.left())
        p.reason = 0x84
    elif version >= V5:
        p.properties = decode_props(cursor, CONNACK)
    else:
        insist(p.reason <= 5, "3.2.2-8", f"return code {p.reason}")
    insist(not (p.reason and p.session_present), "3.2.2-6", "Session Present in a refusal")


def decode_publish(version, p, cursor):
    p.dup, p.qos, p.retain = bool(p.flags & 8), p.flags >> 1 & 3, bool(p.flags & 1)
    insist(p.qos < 3, "3.3.1-4", "QoS 3")
    insist(p.qos > 0 or not p.dup, "3.3.1-2", "DUP with QoS 0")
    p.topic = cursor.text()
    if p.qos:
        p.packet_id = cursor.u16()
        insist(p.packet_id, "2.2.1-4", "packet identifier 0")
    if version >= V5:
        p.properties = decode_props(cursor, PUBLISH)
    insist(p.topic or "topic_alias" in p.properties, "4.7.3-1", "no topic and no alias")
    insist("+" not in p.topic and "#" not in p.topic, "3.3.2-2", f"wildcard in {p.topic!r}")
    p.payload = cursor.take(cursor.left())


def decode_ack(version, p, cursor):
    p.packet_id = cursor.u16()
    if version >= V5 and cursor.left():
        p.reason = cursor.u8()
        if cursor.left():
            p.properties = decode_props(cursor, p.kind)


def decode_suback(version, p, cursor):
    p.packet_id = cursor.u16()
    if version >= V5:
        p.properties = decode_props(cursor, p.kind)
    if version >= V5 or p.kind == SUBACK:
        p.codes = list(cursor.take(cursor.left()))
        insist(p.codes, "3.8.4-6", "no code")
    if version < V5 and p.kind == SUBACK:
        for code in p.codes:
            insist(code in (0, 1, 2, 0x80), "3.9.3-2", f"code 0x{code:02x}")


def decode_ending(_version, p, cursor):
    if cursor.left():
        p.reason = cursor.u8()
        if cursor.left():
            p.properties = decode_props(cursor, p.kind)
    insist(p.kind != DISCONNECT or "session_expiry" not in p.properties, "3.14.2-2",
           "Session Expiry Interval from a server")
