#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What comes before MQTT on a connection and lies: TLS that is none, PROXY headers."""
import concurrent.futures
import pathlib
import random
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, Closed, unique
from harness import Node, Skip, case, check, check_equal, folder, free_port, main, patient, wait_for
from packets import V5

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def certificate():
    """(certificate, key): PEM files of a server called localhost."""
    if shutil.which("openssl") is None:
        raise Skip("openssl is not installed")
    where = pathlib.Path(folder("tls"))
    cert, key = where / "cert.pem", where / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost"], check=True, capture_output=True)
    return cert, key


class TlsClient(Client):
    def __init__(self, address, version=V5, client_id=None, **options):
        super().__init__(address, version, client_id, **options)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._poll.unregister(self.socket)
        self.socket = context.wrap_socket(self.socket)
        self._poll.register(self.socket)

    def receive(self, timeout_s=None):
        # What TLS has decrypted already does not show in poll().
        while self.socket.pending():
            self._buffer += self.socket.recv(1 << 16)
        return super().receive(timeout_s)


def throw_all(address, everything, patience_s=0.2):
    """Sends each on a connection of its own and waits a little for what comes of it."""
    def throw(some):
        with socket.create_connection(address, patient(5)) as s:
            s.settimeout(patience_s)
            try:
                s.sendall(some)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(throw, everything))


def client_hello():
    """The first bytes of a real TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing,
                                                           server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@case
def tls_that_is_none():
    cert, key = certificate()
    node = Node(settings={"tls.cert": cert, "tls.key": key, "mqtt.connect_timeout": "2s"})
    tls_port = free_port()
    node.listen.append(f"tls://127.0.0.1:{tls_port}")
    node.start()
    plain, tls = ("127.0.0.1", node.port), ("127.0.0.1", tls_port)
    bystander = TlsClient(tls)
    bystander.connect(keep_alive=0)
    topic = unique()
    bystander.subscribed(topic)

    hello = client_hello()
    rng = random.Random(1)
    connect = mqtt.connect(V5, unique())
    throw_all(tls, [connect, hello[:50] + connect, b"\x16\x03\x01\xff\xff" + b"\0" * 70000,
                    b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x03\0\2\2\x28", b"\x80\x2e\1\0\2"])
    throw_all(tls, [hello[:n] for n in range(0, len(hello), 7)], 0.02)
    throw_all(tls, [hello[:n] + rng.randbytes(200) for n in range(5, len(hello), 11)], 0.02)
    throw_all(plain, [hello, hello * 100])

    silent = [socket.create_connection(tls) for _ in range(50)]
    for number, s in enumerate(silent):
        s.sendall(hello[:number * 4])
    for s in silent:
        s.settimeout(patient(8))
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            check(False, "half a handshake does not time out")
        s.close()

    large = bytes(range(256)) * 3000
    for _ in range(20):
        bystander.publish(topic, large)
        bystander.expect_publish(topic, large)
    for _ in range(20):  # gone in the middle of a record
        c = TlsClient(tls)
        c.connect()
        c.send(mqtt.publish(V5, topic, large)[:100000])
        c.reset()
    bystander.publish(topic, b"still here")
    bystander.expect_publish(topic, b"still here")
    bystander.disconnect()
    node.stop()


def proxy_v2(command=1, family=0x11, addresses=None, size=None, version=2, tail=b""):
    if addresses is None:
        addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") \
            + struct.pack(">HH", 4711, 1883)
    body = addresses + tail
    return PROXY_SIGNATURE + bytes([version << 4 | command, family]) \
        + struct.pack(">H", len(body) if size is None else size) + body


@case
def proxy_headers_that_lie():
    node = Node(settings={"mqtt.connect_timeout": "2s"})
    port = free_port()
    node.listen.append(f"tcp://127.0.0.1:{port}?proxy_protocol=true")
    node.start()
    address = ("127.0.0.1", port)
    connect = mqtt.connect(V5, "")

    def outcome(some, in_pieces=False):
        """The reason of CONNACK, or None where the connection ends without one."""
        c = Client(address)
        for i in range(len(some)) if in_pieces else [None]:
            c.send(some if i is None else some[i:i + 1])
        try:
            packet = c.receive()
            check(packet is not None, "neither an answer nor the end")
            return packet.reason
        except Closed:
            return None
        finally:
            c.cut()

    v6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 1, 2)
    good = [proxy_v2(), proxy_v2(command=0), proxy_v2(command=0, family=0, addresses=b""),
            proxy_v2(family=0x21, addresses=v6), proxy_v2(tail=b"\xee\0\5hello"),
            proxy_v2(tail=b"\x04\0\0"), proxy_v2(tail=b"\xee\x02\0" + bytes(512)),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\n", b"PROXY UNKNOWN\r\n",
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\n"]
    for header in good:
        check_equal(outcome(header + connect), 0, f"{header!r}")
        check_equal(outcome(header + connect, in_pieces=True), 0, f"{header!r} in single bytes")
    bad = [b"", proxy_v2(version=1), proxy_v2(version=3), proxy_v2(command=2), proxy_v2(command=15),
           proxy_v2(size=3), b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 999.0.2.7 192.0.2.1 1 2\r\n",
           b"PROXY TCP4 192.0.2.7 192.0.2.1 70000 2\r\n", b"PROXY " + b"x" * 200 + b"\r\n",
           PROXY_SIGNATURE[:-1] + b"X" + proxy_v2()[12:], proxy_v2() + proxy_v2(),
           proxy_v2(addresses=b"\1\2\3"), proxy_v2(family=0x21)]
    for header in bad:
        check_equal(outcome(header + connect), None, f"{header!r}")
    check_equal(outcome(proxy_v2(size=65535) + connect), None, "a length nobody sends")

    for cut in range(1, len(proxy_v2())):
        with Client(address) as c:
            c.send(proxy_v2()[:cut])
    silent = Client(address)
    silent.send(proxy_v2()[:10])
    begun = time.monotonic()
    silent.expect_close(timeout_s=patient(8))
    check(time.monotonic() - begun > 0.5, "it got no time")
    with Client(("127.0.0.1", node.port)) as c:  # no header is expected there
        c.send(proxy_v2() + connect)
        c.expect_close()
    check_equal(outcome(proxy_v2() + connect), 0, "in the end")
    wait_for(node.is_ready, patient(5), "the node is well")
    node.stop()


if __name__ == "__main__":
    main()
