#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""MQTT over WebSocket: section 6, and what RFC 6455 has a server refuse."""

import socket

import packets as mqtt
import websocket as ws
from packets import V5, V31, V311
from suite import Suite, check, equal, patient
from websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, request

suite = Suite("websocket", {"mqtt.connect_timeout": "3s"}, "ws", ws.WebSocketClient)


@suite.test(v5="6.0.0-4", v311="6.0.0-4", versions=(V31, V311, V5))
def the_handshake_selects_the_subprotocol(t):
    c = t.client()
    equal(c.status, 101, "status")
    equal(c.headers["sec-websocket-protocol"], "mqtt", "subprotocol")
    equal(c.headers["sec-websocket-accept"], ws.proof_of("AAECAwQFBgcICQoLDA0ODw==").lower(),
          "proof")
    c.connect()
    c.ping()
    many = t.client(handshake=False)
    equal(many.shake_hands(request(Sec_WebSocket_Protocol="chat, mqtt , x")), 101, "status")
    equal(many.headers["sec-websocket-protocol"], "mqtt", "subprotocol of several")


@suite.test(v5="6.0.0-3", v311="6.0.0-3")
def without_the_subprotocol_there_is_no_handshake(t):
    for offered in (None, "chat", "MQTT", ""):
        c = t.client(handshake=False)
        status = c.shake_hands(request(Sec_WebSocket_Protocol=offered))
        check(status is None or status >= 400 or "sec-websocket-protocol" not in c.headers,
              f"{offered} got {status} {c.headers}")


@suite.test(v5="6.0.0-2", v311="6.0.0-2")
def packets_and_frames_do_not_align(t):
    topic = t.topic()
    packets = [mqtt.connect(t.version, t.topic()), mqtt.subscribe(t.version, 1, [(topic, 1)]),
               mqtt.publish(t.version, topic, b"x" * 300, 1, 2), mqtt.pingreq()]
    stream = b"".join(packets)
    ways = {
        "all in one frame": frame(BINARY, stream),
        "a byte a frame": b"".join(frame(BINARY, stream[i:i + 1]) for i in range(len(stream))),
        "one message of many frames": frame(BINARY, stream[:50], fin=False) + b"".join(
            frame(CONTINUATION, stream[i:i + 7], fin=False) for i in range(50, len(stream), 7))
        + frame(CONTINUATION),
        "across borders": frame(BINARY, stream[:len(packets[0]) + 3])
        + frame(BINARY, stream[len(packets[0]) + 3:]),
        "with pings between": frame(BINARY, stream[:20], fin=False) + frame(PING, b"are you there")
        + frame(CONTINUATION, b"", fin=False) + frame(PONG) + frame(CONTINUATION, stream[20:]),
        "with empty messages": (frame(BINARY) * 5).join(frame(BINARY, p) for p in packets),
    }
    for name, frames in ways.items():
        for split in (len(frames), 1):
            c = t.client()
            for at in range(0, len(frames), split):
                c.send_frames(frames[at:at + split])
            kinds = sorted(c.receive().kind for _ in range(5))
            equal(kinds, sorted([mqtt.CONNACK, mqtt.SUBACK, mqtt.PUBLISH, mqtt.PUBACK,
                                 mqtt.PINGRESP]), name)
            if "ping" in name:
                equal(c.controls, [(PONG, b"are you there")], "PONG")
            c.cut()


@suite.test(v5="6.0.0-1", v311="6.0.0-1")
def other_frames_than_binary_ones_close(t):
    for frames in (frame(TEXT, mqtt.pingreq()), frame(TEXT, b"", fin=False)):
        c = t.connected()
        c.send_frames(frames)
        c.expect_close()
        equal([opcode for opcode, _ in c.controls], [CLOSE], "control frames")


@suite.test(v5="6.0.0-1", v311="6.0.0-1")
def the_server_sends_binary_frames(t):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    for size in (0, 100, 125, 126, 1000, 65535, 70000):
        c.publish(topic, b"x" * size)
        c.expect_publish(topic, b"x" * size)  # _unwrap() insists


@suite.test(versions=(V5,))
def frames_that_lie_are_refused(t):
    connect = mqtt.connect(V5, t.topic())
    for bad in (frame(BINARY, connect, masked=False), frame(3), frame(7), frame(11), frame(15),
                frame(CONTINUATION, b"x"), frame(PING, b"x" * 126), frame(PING, fin=False),
                frame(CLOSE, b"x"), frame(BINARY, b"x", rsv=4), frame(BINARY, b"x", rsv=1),
                frame(BINARY, size=1 << 63), frame(BINARY, size=(1 << 64) - 1),
                frame(BINARY, size=1 << 40), frame(BINARY, b"a", fin=False) + frame(BINARY, b"b")):
        c = t.client()
        c.send_frames(bad)
        c.expect_close()
        c = t.connected()
        c.send_frames(bad)
        c.expect_close()
        check(all(opcode == CLOSE for opcode, _ in c.controls), f"{c.controls}")
    for code in (1000, 1001, 3000):
        c = t.connected()
        c.send_frames(frame(CLOSE, code.to_bytes(2, "big") + b"bye"))
        c.expect_close()
        equal(c.controls[0][0], CLOSE, "answer to CLOSE")


@suite.test(versions=(V5,))
def requests_that_are_none_are_refused(t):
    for bad in (b"\0\1\2\3\r\n\r\n", mqtt.connect(V5, "x"), b"GET / HTTP/1.1\r\n\r\n",
                request("/other"), request(Upgrade=None), request(Upgrade="h2c"),
                request(Connection=None), request(Sec_WebSocket_Version="12"),
                request(Sec_WebSocket_Key=None), request(Sec_WebSocket_Key="short"),
                request().replace(b"GET", b"POST"), request().replace(b"1.1", b"1.0"),
                request(X="y" * 70000), request(**{f"X{i}": "y" for i in range(5000)}),
                b"GET /" + b"a" * 70000):
        c = t.client(handshake=False)
        status = c.shake_hands(bad)
        check(status is None or 400 <= status < 500, f"{bad[:60]}: {status}")
        try:
            more = c.socket.recv(100)
        except ConnectionResetError:  # for what it has not read of the request
            more = b""
        equal(more, b"", "more than a refusal")


@suite.test(versions=(V5,))
def what_stops_half_way_times_out(t):
    clients = []
    for some in (b"", request()[:30], request() + frame(BINARY, b"x" * 50)[:20],
                 request() + frame(BINARY, mqtt.connect(V5, "half")[:5]), request()):
        c = t.client(handshake=False)
        c.socket.sendall(some)
        clients.append(c)
    for c in clients:
        c.socket.settimeout(patient(8))
        try:
            while c.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            check(False, "stays open")


@suite.test(versions=(V5,))
def pings_are_bounded(t):
    c = t.connected()
    c.socket.settimeout(0.5)
    try:
        for _ in range(2000):
            c.socket.sendall(frame(PING, b"x" * 125) * 50)
    except (TimeoutError, OSError):
        pass  # it stops reading, or closes: both bound it
    node = t.node()
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        sizes = dict(line.split(":") for line in status.read().splitlines())
    if int(sizes["VmSize"].split()[0]) < 1 << 32:  # no sanitizer
        check(int(sizes["VmRSS"].split()[0]) < 200 << 10, sizes["VmRSS"])
    other = t.connected()
    other.ping()


@suite.test(versions=(V5,))
def close_in_the_middle_of_a_message(t):
    for _ in range(50):
        c = t.connected()
        c.send_frames(frame(BINARY, mqtt.publish(V5, "a", b"x" * 1000))[:500])
        c.socket.shutdown(socket.SHUT_WR)
        c.expect_close()


if __name__ == "__main__":
    suite.main()
