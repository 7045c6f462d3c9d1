#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
What a node has to survive from its clients: lies about lengths, garbage, floods, storms, silence.

Every case ends with the same questions: does the node live, does a bystander who was connected all
the time still have its connection and get his messages, are the descriptors given back and is the
memory bounded?  Whatever takes many connections is done by threads.
"""
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, Closed, Unexpected, unique
from harness import (Node, case, case_of, check, check_equal, descriptors_raise, main, patient,
                     wait_for)
from packets import V5, V31, V311, Will

VERSIONS = (V31, V311, V5)
MIB = 1024  # in KiB, as /proc says it

SEED = int(os.environ.get("GRAPEVINE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


# ---- what is asked at the end --------------------------------------------------------------------


def status_kib(node, key):
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        return int(re.search(rf"{key}:\s+(\d+)", status.read())[1])


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


class House:
    """A node, a bystander, and what they looked like before."""

    def __init__(self, **settings):
        named = {key.replace("__", "."): value for key, value in settings.items()}
        self.node = Node(settings={"log.level": "warn", **named}).start()
        self.address = ("127.0.0.1", self.node.port)
        self.topic = unique("bystander")
        self.bystander = Client(self.address)
        self.bystander.connect(keep_alive=0)
        self.bystander.subscribed(self.topic, qos=1)
        for _ in range(3):  # what is made once has been made
            self.ask_bystander()
        self.descriptors = descriptors(self.node)
        self.memory = status_kib(self.node, "VmRSS")

    def ask_bystander(self):
        begun = time.monotonic()
        self.bystander.send(mqtt.publish(V5, self.topic, b"well?", 1, self.bystander.next_id()))
        kinds = [self.bystander.receive() for _ in range(2)]
        check(None not in kinds, "the bystander is not served")
        for packet in kinds:
            if packet.kind == mqtt.PUBLISH:
                self.bystander.acknowledge(packet)
        self.bystander.got.clear()
        return time.monotonic() - begun

    def client(self, version=V5, client_id=None, **options):
        c = Client(self.address, version, client_id, **options)
        return c

    def connected(self, client_id=None, version=V5, **options):
        c = self.client(version, client_id)
        c.connack = c.connect(**options)
        return c

    def grown_mib(self):
        """MiB more than before; 0 where a sanitizer's shadow makes it meaningless."""
        if status_kib(self.node, "VmSize") > 1 << 32:
            return 0
        return (status_kib(self.node, "VmRSS") - self.memory) / MIB

    def end(self, grown_mib_max=64):
        check(self.node.is_running(), "the node has ended")
        check(self.ask_bystander() < patient(5), "the bystander waited long")
        wait_for(lambda: descriptors(self.node) <= self.descriptors + 2, patient(10),
                 f"descriptors: {descriptors(self.node)}, before: {self.descriptors}")
        grown = self.grown_mib()
        check(grown <= grown_mib_max, f"the node has grown by {grown:.0f} MiB")
        self.bystander.cut()  # a node that stops gives its clients some time
        self.node.stop(patient(60))


def everywhere(function, arguments, threads=16):
    """Runs function for each argument; raises the first error."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, arguments))


def drain(c, seconds=5):
    """Reads until the end of the connection.  True: it ended."""
    deadline = time.monotonic() + seconds
    c.socket.settimeout(min(seconds, 0.2))
    while time.monotonic() < deadline:
        try:
            if not c.socket.recv(1 << 20):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def metric(house, name):
    """A number out of /metrics."""
    text = house.node.http("/metrics")[1].decode()
    return int(float(re.search(f"^{re.escape(name)} (.*)$", text, re.M)[1]))


# ---- the packets everything below is made of -----------------------------------------------------


def specimens(v):
    """One rich packet of each kind, after CONNECT."""
    properties = {"user_property": [("key", "value")]}
    everything = {"payload_format": 1, "message_expiry": 60, "content_type": "text",
                  "response_topic": "reply/to", "correlation_data": b"\0\1\2", "topic_alias": 1,
                  **properties}
    why = {"reason_string": "why", **properties}
    yield mqtt.publish(v, "some/topic", b"payload", 0, retain=True, properties=everything)
    yield mqtt.publish(v, "some/topic", b"payload", 1, 17, properties=everything)
    yield mqtt.publish(v, "some/topic", b"payload", 2, 18, dup=True, properties=everything)
    for kind in (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP):
        yield mqtt.ack(v, kind, 17, 0x92 if kind in (mqtt.PUBREL, mqtt.PUBCOMP) else 0x80,
                       properties=why)
    yield mqtt.subscribe(v, 19, [("a/+", 1), ("b/#", 2), ("$share/g/c", 0)],
                         {"subscription_id": 300, **properties} if v == V5 else None)
    yield mqtt.unsubscribe(v, 20, ["a/+", "b/#", "none"], properties)
    yield mqtt.pingreq()
    yield mqtt.disconnect(v, 4, {"session_expiry": 1, **why})
    yield mqtt.auth(0x19, {"authentication_method": "m", "authentication_data": b"d", **why})
    yield mqtt.packet(mqtt.CONNACK, 0, b"\0\0\0")
    yield mqtt.packet(mqtt.SUBACK, 0, b"\0\1\0\0")


def rich_connect(v, client_id=None):
    will = Will("will/topic", b"gone", 2, True, {"will_delay": 1, "content_type": "c",
                                                 "user_property": [("a", "b")]})
    return mqtt.connect(v, client_id or unique(), will=will, username="user", password="secret",
                        properties={"session_expiry": 1, "receive_maximum": 10,
                                    "maximum_packet_size": 4000, "user_property": [("a", "b")]})


def plain_connect(v):
    return mqtt.connect(v, unique(), properties={"session_expiry": 1})


# ---- section 1: framing --------------------------------------------------------------------------


@case_of(seconds=300)
def every_packet_cut_at_every_byte():
    house = House()

    def cut_here(job):
        v, prefix, packet, size = job
        with house.client(v) as c:
            c.send(prefix + packet[:size])
            if size % 2:
                c.reset()

    jobs = [(v, b"", rich_connect(v), n) for v in VERSIONS for n in range(len(rich_connect(v)))]
    jobs += [(v, plain_connect(v), p, n) for v in VERSIONS for p in specimens(v)
             for n in range(len(p))]
    everywhere(cut_here, jobs)
    house.end()


@case_of(seconds=300)
def every_packet_with_every_byte_changed():
    house = House()
    print(f"# seed {SEED}")
    rng = random.Random(SEED)

    def change(job):
        v, prefix, packet, at, byte = job
        with house.client(v) as c:
            c.send(prefix + packet[:at] + bytes([byte]) + packet[at + 1:])
            if at % 8 == 0:
                drain(c, 0.02)

    jobs = []
    for v in VERSIONS:
        for prefix, packet in [(b"", rich_connect(v))] + [(plain_connect(v), p)
                                                          for p in specimens(v)]:
            for at in range(len(packet)):
                for byte in {0, 0xff, packet[at] ^ 0x80, rng.randrange(256)}:
                    jobs.append((v, prefix, packet, at, byte))
    everywhere(change, jobs)
    house.end()


@case
def garbage_of_all_kinds():
    house = House()
    print(f"# seed {SEED}")
    rng = random.Random(SEED)
    jobs = [rng.randbytes(rng.choice((1, 2, 5, 100, 5000, 70000))) for _ in range(600)]
    jobs += [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0", b"PROXY TCP4 ",
             b"\r\n\r\n\0\r\nQUIT\n", b"\xff" * 100000, b"\0" * 100000, b"\x10" * 100000,
             b"\xc0\0" * 50000, b"\x30" * 100000]

    def throw(job):
        number, garbage = job
        with house.client(VERSIONS[number % 3]) as c:
            c.send((plain_connect(c.version) if number % 2 else b"") + garbage)
            drain(c, 0.05)

    everywhere(throw, enumerate(jobs))
    house.end()


@case
def a_stream_in_single_bytes_and_one_stream_in_all_splits():
    house = House()
    for v in VERSIONS:
        topic = unique()
        stream = (mqtt.connect(v, unique()) + mqtt.subscribe(v, 1, [(topic, 1)])
                  + mqtt.publish(v, topic, b"x" * 150, 1, 2) + mqtt.pingreq())
        for at in range(1, len(stream)):
            with house.client(v) as c:
                c.send(stream[:at])
                if at % 16 == 0:
                    time.sleep(0.002)
                c.send(stream[at:])
                kinds = sorted(c.receive().kind for _ in range(5))
                check_equal(kinds, [mqtt.CONNACK, mqtt.PUBLISH, mqtt.PUBACK, mqtt.SUBACK,
                                    mqtt.PINGRESP], f"answers when split at {at}")
    house.end()


@case
def large_headers_and_then_silence():
    house = House(mqtt__connect_timeout="3s")
    biggest = b"\x10\xff\xff\xff\x7f\0\4MQTT\5"
    allowed = b"\x10" + mqtt.varint(8000) + b"\0\4MQTT\5"
    clients = []
    for header in [biggest] * 300 + [allowed] * 300:
        c = house.client()
        c.send(header)
        clients.append(c)
    for _ in range(300):
        c = house.connected()
        c.send(b"\x30" + mqtt.varint((1 << 20) - 100) + b"\0\5topic")
        clients.append(c)
    for c in clients[:300]:
        c.expect_close()  # at once: it is more than is ever taken
    house.ask_bystander()
    check(house.grown_mib() < 64, f"600 headers cost {house.grown_mib():.0f} MiB")
    for c in clients[300:600]:
        check(drain(c, patient(8)), "half a CONNECT does not time out")
    for c in clients:
        c.cut()
    house.end()


@case
def silence_before_connect():
    house = House(mqtt__connect_timeout="1s")
    whole = plain_connect(V5)
    clients = [house.client() for _ in range(60)]
    for number, c in enumerate(clients):
        c.send(whole[:number % len(whole)])
    begun = time.monotonic()
    dripping = house.client()
    while time.monotonic() - begun < patient(12):  # it moves, but never gets there in time
        try:
            dripping.socket.sendall(b"\x10" if time.monotonic() - begun < 0.2 else b"\xc8")
        except OSError:
            break
        time.sleep(0.3)
    check(time.monotonic() - begun < patient(11), "a dripping CONNECT is not closed")
    for c in clients:
        check(drain(c, patient(3)), "a silent connection is not closed")
        check_equal(c.got, [], "what was said to it")
    house.end()


@case
def packets_above_the_limit():
    house = House(mqtt__packet_size_max="4KiB")
    for v in VERSIONS:
        c = house.connected(version=v)
        c.send(mqtt.publish(v, "t", bytes(5000)))
        told = c.expect_close()
        check_equal(told, 0x95 if v == V5 else None, "reason")
    house.end()


# ---- section 2: CONNECT --------------------------------------------------------------------------


@case
def strings_of_connect_that_lie():
    house = House()

    def lie(job):
        v, at, length = job
        whole = bytearray(rich_connect(v))
        whole[at:at + 2] = length.to_bytes(2, "big")
        with house.client(v) as c:
            c.send(bytes(whole))
            drain(c, 0.02)

    everywhere(lie, [(v, at, length) for v in VERSIONS
                     for at in range(2, len(rich_connect(v)) - 2)
                     for length in (0, 1, 0x7fff, 0xffff)])
    house.end()


@case
def many_packets_in_one_segment():
    house = House()
    for v in VERSIONS:
        topic = unique()
        c = house.client(v)
        c.send(plain_connect(v) + mqtt.subscribe(v, 1, [(topic, 0)])
               + mqtt.publish(v, topic, b"x") * 3000 + mqtt.pingreq() * 3000)
        c.expect(mqtt.CONNACK, reason=0)
        kinds = [c.receive().kind for _ in range(6001)]
        check_equal(kinds.count(mqtt.PUBLISH), 3000, "messages")
        check_equal(kinds.count(mqtt.PINGRESP), 3000, "PINGRESPs")
        c.cut()
        first_is_no_connect = house.client(v)
        first_is_no_connect.send(mqtt.publish(v, topic, b"x") * 10000)
        first_is_no_connect.expect_close()
    house.end()


# ---- section 3 and 4: topics and filters ---------------------------------------------------------


@case
def ten_thousand_filters_in_one_subscribe():
    house = House()
    base = unique()
    for v in (V311, V5):
        c = house.connected(version=v)
        for filters in ([f"{base}/{i}" for i in range(10000)],
                        [f"{base}/{i}/+" for i in range(10000)], [base] * 10000, ["a#b"] * 10000):
            suback = c.subscribe(*filters, qos=1)
            good = 0x8f if v == V5 else 0x80
            check_equal(set(suback.codes), {good if "#b" in filters[0] else 1}, "codes")
        c.publish(f"{base}/9999/x", b"y", qos=0)
        c.expect_publish(f"{base}/9999/x")
        unsuback = c.unsubscribe(*[f"{base}/{i}" for i in range(10000)])
        check(v != V5 or unsuback.codes == [0] * 10000, "codes of UNSUBACK")
        c.cut()
    house.end()


@case
def monstrous_topics_and_filters():
    house = House()
    topics = ["x" * 65535, "/" * 30000, "a/" * 127 + "a", "a/" * 128 + "a", "/" * 65535,
              "\U0001f347" * 16383, "+/" * 127 + "+", "+/" * 32000 + "#", "$share/g/" + "/" * 60000,
              "$share/" + "g" * 65000 + "/t", "$SYS/" + "/" * 1000, "$", "$/", "//", "/"]
    publisher = house.connected()
    c = house.connected()
    granted = 0
    for text in topics:
        code = c.subscribe(text).codes[0]
        granted += code <= 2
        if "+" not in text and "#" not in text:
            publisher.publish(text, b"x", qos=1)
            publisher.publish(text, b"x", qos=1, retain=True)
            publisher.publish(text, b"", qos=1, retain=True)
    check(granted >= 8, f"only {granted} of {len(topics)} were granted")
    while (packet := c.receive(0.3)) is not None:
        check_equal(packet.kind, mqtt.PUBLISH, "kind")
    for text in topics:
        c.unsubscribe(text)
    c.cut(), publisher.cut()
    house.end()


@case
def filters_that_match_in_exponentially_many_ways():
    house = House()
    c, publisher = house.connected(), house.connected()
    base = unique()
    filters = [base]
    for _ in range(12):  # every mixture of a and + over twelve levels
        filters = [f + level for f in filters for level in ("/a", "/+")]
    for start in range(0, len(filters), 1024):
        c.subscribed(*filters[start:start + 1024])
    begun = time.monotonic()
    for _ in range(5):
        publisher.publish(base + "/a" * 12, b"x", qos=1)
        c.expect_publish(base + "/a" * 12)
    seconds = time.monotonic() - begun
    check(seconds < patient(5), f"five publishes over {len(filters)} matching filters took {seconds:.1f} s")
    c.cut(), publisher.cut()
    house.end()


@case
def odd_filters_come_and_go():
    house = House()
    texts = ["$share/ab", "$share//x", "$share/g/", "$share/+/x", "$sharex", "$share/g/#", "a#b",
             "#/a", "a+", "+a/b", "//", "/", "+/+", "#", "+", "$share/g/$SYS/#", "$SYS/#"]
    for v in (V311, V5):
        for text in texts:
            c = house.client(v)
            c.connect()
            c.send(mqtt.unsubscribe(v, 9, [text]) + mqtt.subscribe(v, 1, [(text, 1)])
                   + mqtt.publish(v, "ab", b"1") + mqtt.publish(v, "x/y", b"2", 1, 3)
                   + mqtt.publish(v, "sharex/g/a+", b"2") if "+" not in text else b"")
            c.send(mqtt.subscribe(v, 2, [(text, 0), (text, 1), (text, 2)])
                   + mqtt.unsubscribe(v, 4, [text, text]) + mqtt.pingreq())
            try:
                while c.receive().kind != mqtt.PINGRESP:
                    pass
            except Closed:
                pass
            c.cut()
            house.ask_bystander()
    house.end()


@case
def one_client_with_many_groups_and_overlaps():
    house = House()
    base = unique()
    c, publisher = house.connected(), house.connected()
    c.subscribed(*[f"$share/g{i}/{base}/#" for i in range(100)], qos=1)
    for i, text in enumerate([f"{base}/a", f"{base}/+", f"{base}/#", "+/a", f"{base}/a/#"] * 20):
        c.subscribed(text, qos=2, properties={"subscription_id": i + 1})
    for i in range(3):
        publisher.publish(f"{base}/a", str(i), qos=2)
    c.collect(3 * (100 + 1))  # copies: one for each group, one for all the rest
    c.cut(), publisher.cut()
    house.end()


@case_of(seconds=180)
def a_flood_of_retained_messages():
    house = House()
    base = unique()
    publisher = house.connected()
    count = 20000
    window = 200
    for payload in (b"x" * 100, b""):
        for start in range(0, count, window):
            publisher.send(b"".join(
                mqtt.publish(V5, f"{base}/{i % 100}/{i}", payload, 1, i - start + 1, retain=True)
                for i in range(start, start + window)))
            for _ in range(window):
                publisher.expect(mqtt.PUBACK)
        c = house.connected()
        c.subscribed(f"{base}/#")
        for _ in range(count if payload else 0):
            c.expect(mqtt.PUBLISH)
        c.expect_nothing()
        c.cut()
    publisher.cut()
    house.end(grown_mib_max=128)


@case_of(seconds=180)
def many_filters_over_many_retained_messages():
    house = House(node__shards=2)
    base = [unique()] + [f"l{i}" for i in range(11)]
    publisher = house.connected()
    count, window = 10000, 200
    for start in range(0, count, window):
        publisher.send(b"".join(
            mqtt.publish(V5, "/".join(base) + f"/{i}", b"x", 1, i - start + 1, retain=True)
            for i in range(start, start + window)))
        for _ in range(window):
            publisher.expect(mqtt.PUBACK)
    # Each matches all of them: together forty million copies, for somebody who does not read.
    filters = ["/".join([base[0]] + ["+" if bits >> i & 1 else level
                                     for i, level in enumerate(base[1:])] + ["#"])
               for bits in range(1 << 11)]
    greedy = [house.connected() for _ in range(2)]
    for packet_id, start in enumerate(range(0, len(filters), 64)):
        for c in greedy:
            c.send(mqtt.subscribe(V5, packet_id + 1, [(f, 0) for f in filters[start:start + 64]]))
    for _ in range(20):
        house.ask_bystander()
    reader = house.connected()
    reader.subscribed("/".join(base) + "/77")
    reader.expect_publish(retain=True)
    for c in [publisher, reader, *greedy]:
        c.cut()
    house.end(grown_mib_max=128)


@case
def aliases_with_the_longest_topics():
    house = House(mqtt__topic_alias_bytes_max="8MiB", mqtt__topic_alias_memory_max="64MiB",
                  node__shards=2)
    clients = []
    for _ in range(4):
        c = house.connected()
        for alias in range(1, c.connack.properties["topic_alias_maximum"] + 1):
            c.publish("x" * 65535, b"", properties={"topic_alias": alias})
        c.ping()
        clients.append(c)
    for c in clients:
        c.cut()
    house.end()


@case
def aliases_that_do_not_fit_the_budget():
    house = House(mqtt__topic_alias_memory_max="256KiB", node__shards=2)

    def fill(c):
        """True when all fit."""
        try:
            for alias in range(1, 65):
                c.publish("x" * 1000, b"", properties={"topic_alias": alias})
            c.ping()
            return True
        except (Unexpected, OSError):
            check_equal([p.reason for p in c.got if p.kind == mqtt.DISCONNECT], [0x97], "told")
            return False

    clients = [house.connected() for _ in range(8)]
    held = sum([fill(c) for c in clients])
    # A quarter of a MiB on both shards together: 64 kB a client.
    check(1 <= held <= 4, f"{held} clients of 8 have all their aliases")
    for c in clients:
        c.cut()
    wait_for(lambda: metric(house, "grapevine_connections") == 1, patient(10), "all are gone")
    check(fill(house.connected()), "memory did not come back")
    house.end()


# ---- section 5: acknowledgements and flow --------------------------------------------------------


@case_of(seconds=180)
def all_packet_identifiers_in_flight():
    """65535 deliveries without an answer, then answers in any order, some twice, some wrong."""
    house = House(mqtt__inflight_max=65535, mqtt__queue_messages_max=100000)
    topic = unique()
    c = house.connected(properties={"receive_maximum": 65535})
    c.subscribed(topic, qos=1)
    publisher = house.connected()
    count = 70000
    window = 500

    def publish():
        for start in range(0, count, window):
            publisher.send(b"".join(mqtt.publish(V5, topic, str(i), 1, i - start + 1)
                                    for i in range(start, start + window)))
            for _ in range(window):
                publisher.expect(mqtt.PUBACK)
            publisher.got.clear()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(publish)
        first = [c.expect_publish(topic, str(i)).packet_id for i in range(65535)]
        done.result()
    check_equal(len(set(first)), 65535, "different ids")
    c.expect_nothing()
    c.got.clear()
    random.Random(SEED).shuffle(first)
    c.send(b"".join(mqtt.ack(V5, mqtt.PUBACK, i) for i in first))
    c.send(b"".join(mqtt.ack(V5, mqtt.PUBACK, i) for i in first[:1000]))
    for i in range(65535, count):
        c.expect_publish(topic, str(i))
    c.cut(), publisher.cut()
    house.end(grown_mib_max=200)


@case
def acknowledgements_out_of_place():
    house = House()
    rng = random.Random(SEED)
    print(f"# seed {SEED}")
    topic = unique()
    publisher = house.connected()

    def misbehave(seed):
        mine = random.Random(seed)
        c = house.connected(properties={"session_expiry": 5})
        c.subscribed(topic, qos=2)
        for _ in range(200):
            c.send(mqtt.ack(V5, mine.choice((4, 5, 6, 7)), mine.randrange(1, 40),
                            mine.choice((None, None, 0))))
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            packet = c.receive(0.05)
            if packet is not None and packet.kind == mqtt.PUBLISH:
                for kind in mine.sample((4, 5, 6, 7), 2):
                    c.ack(kind, packet.packet_id)
        c.cut()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(misbehave, rng.random()) for _ in range(8)]
        for i in range(300):
            publisher.publish(topic, str(i), qos=1 + i % 2)
        for one in running:
            one.result()
    publisher.cut()
    house.end()


def flood(house, topic, qos, is_over, payload=bytes(1000)):
    """Publishes as fast as it may until it is over; the number of messages."""
    publisher = house.connected()
    burst = b"".join(mqtt.publish(V5, topic, payload, qos, i + 1) for i in range(100))
    count = 0
    while not is_over():
        publisher.send(burst)
        for _ in range(100 if qos else 0):
            publisher.expect(mqtt.PUBACK)
        publisher.got.clear()
        count += 100
    publisher.cut()
    return count


def a_reader_that_stops(qos):
    house = House(mqtt__slow_reader_timeout="3s", mqtt__queue_bytes_max="8MiB",
                  mqtt__output_bytes_max="2MiB", mqtt__inflight_max=65535)
    topic = unique()
    stopped = [house.client(receive_buffer=4096) for _ in range(4)]
    for number, c in enumerate(stopped):
        c.connect(properties={"receive_maximum": 65535}, keep_alive=number * 60)
        c.subscribed(topic, qos=qos)
    time.sleep(1)  # with nothing to write: what stalls later is found as soon
    begun = time.monotonic()

    def is_over():
        """All are disconnected, or never will be."""
        seconds = time.monotonic() - begun
        return seconds > patient(30) or \
            (seconds > 5 and metric(house, "grapevine_connections") <= 3)  # bystander, publishers

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        floods = [pool.submit(flood, house, topic, qos, is_over) for _ in range(2)]
        slowest = 0
        while not all(f.done() for f in floods):
            slowest = max(slowest, house.ask_bystander())
            time.sleep(0.05)
        check(all(f.result() > 0 for f in floods), "nothing was published")
    check(slowest < patient(3), f"a neighbour waited {slowest:.1f} s")
    check(house.grown_mib() < 150, f"stopped readers cost {house.grown_mib():.0f} MiB")
    for c in stopped:
        check(drain(c, patient(10)), "a reader that stopped is not disconnected")
        c.cut()
    house.end(grown_mib_max=150)


@case
def a_reader_that_stops_under_a_qos_0_flood():
    a_reader_that_stops(0)


@case
def a_reader_that_stops_under_a_qos_1_flood():
    a_reader_that_stops(1)


@case
def a_reader_that_pauses_gets_its_qos_1_messages():
    """The output is full of QoS 0 when QoS 1 comes, which has to follow when it is read again."""
    house = House(mqtt__output_bytes_max="1MiB", mqtt__slow_reader_timeout="30s")
    topic = unique()
    c = house.client(receive_buffer=4096)
    c.connect(keep_alive=0)
    c.subscribed(topic, qos=1)
    publisher = house.connected()
    dropped = 0
    for _ in range(100):
        for _ in range(200):
            publisher.publish(topic, bytes(1000))
        publisher.ping()
        dropped = metric(house, "grapevine_messages_dropped_total{reason=\"slow_reader\"}")
        if dropped > 0:
            break
    check(dropped > 0, "the output never filled")
    for i in range(20):
        publisher.publish(topic, f"important {i}", qos=1)
    for i in range(20):
        while True:
            packet = c.receive()
            check(packet is not None, f"QoS 1 message {i} did not come")
            if packet.qos == 1:
                break
        check_equal(packet.payload.decode(), f"important {i}", "message")
        c.acknowledge(packet)
        c.got.clear()
    c.cut(), publisher.cut()
    house.end(grown_mib_max=100)


# ---- section 6: sessions and take-over -----------------------------------------------------------


@case
def a_storm_of_take_overs():
    house = House()
    client_id, topic = unique("same"), unique()
    stop = threading.Event()

    def come_and_go(seed):
        rng = random.Random(seed)
        for i in range(150):
            v = rng.choice(VERSIONS)
            try:
                with Client(house.address, v, client_id) as c:
                    will = Will(topic, b"will", rng.randrange(3)) if rng.random() < 0.5 else None
                    c.send(mqtt.connect(v, client_id, clean=rng.random() < 0.3, will=will,
                                        properties={"session_expiry": rng.choice((0, 5))})
                           + mqtt.subscribe(v, 1, [(topic, 2), (topic + "/#", 1),
                                                   ("$share/g/" + topic, 1)])
                           + mqtt.publish(v, topic, b"own", 2, 7))
                    if rng.random() < 0.5:
                        c.receive(0.02)
                    if rng.random() < 0.3:
                        c.reset()
            except (AssertionError, OSError):
                pass

    def publish():
        c = house.connected()
        while not stop.is_set():
            for qos in (0, 1, 2):
                c.publish(topic, b"x", qos=qos)
            c.got.clear()
        c.cut()

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        publishing = pool.submit(publish)
        for one in [pool.submit(come_and_go, SEED + i) for i in range(8)]:
            one.result()
        stop.set()
        publishing.result()
    last = house.connected(client_id)
    last.ping()
    last.cut()
    house.end()


@case
def subscriptions_change_while_messages_fan_out():
    house = House()
    topic = unique()
    stop = threading.Event()

    rounds_of = collections.Counter()

    def jitter(number):
        filters = [topic, topic + "/+", topic + "/#", f"$share/g{number % 2}/{topic}/#"]
        c = house.connected()
        rounds = 0
        while not stop.is_set():
            v, i = V5, rounds % 60000
            c.send(mqtt.subscribe(v, i + 1, [(f, i % 3) for f in filters])
                   + mqtt.unsubscribe(v, i + 2, filters[:i % 5] or filters))
            answers = 0
            while answers < 2:
                packet = c.receive()
                check(packet is not None, "no answer to SUBSCRIBE")
                if packet.kind == mqtt.PUBLISH:
                    if packet.qos == 1:
                        c.ack(mqtt.PUBACK, packet.packet_id)
                    elif packet.qos == 2:
                        c.ack(mqtt.PUBREC, packet.packet_id)
                elif packet.kind == mqtt.PUBREL:
                    c.ack(mqtt.PUBCOMP, packet.packet_id)
                else:
                    answers += 1
            c.got.clear()
            rounds += 1
            rounds_of[number] = rounds
        c.cut()

    def publish(number):
        c = house.connected()
        while not stop.is_set():
            c.publish(f"{topic}/{number}", b"x" * 100, qos=number % 3)
            c.publish(topic, b"x", qos=1)
            c.got.clear()
        c.cut()

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        jobs = [pool.submit(jitter, i) for i in range(8)]
        publishers = [pool.submit(publish, i) for i in range(3)]
        time.sleep(5)
        until = time.monotonic() + patient(10)
        while min(rounds_of[i] for i in range(8)) <= 5 and time.monotonic() < until:
            time.sleep(0.2)
        stop.set()
        for one in jobs + publishers:
            one.result()
    check(min(rounds_of[i] for i in range(8)) > 5, f"somebody starved: {rounds_of}")
    house.end()


@case
def a_storm_of_connections():
    house = House()

    def come(number):
        with house.client(VERSIONS[number % 3]) as c:
            c.send(mqtt.connect(c.version, c.client_id))
            if number % 4 == 0:
                c.reset()
            elif number % 4 == 1:
                c.expect(mqtt.CONNACK)
                c.send(mqtt.disconnect(c.version))
            elif number % 4 == 2:
                c.expect(mqtt.CONNACK)

    everywhere(come, range(4000), threads=32)
    at_once = [house.client() for _ in range(min(1000, descriptors_raise() // 2))]
    for c in at_once:
        c.send(mqtt.connect(V5, c.client_id))
    for c in at_once:
        c.expect(mqtt.CONNACK, reason=0)
    for c in at_once:
        c.cut()
    house.end()


@case
def a_storm_on_one_session_with_a_long_queue():
    house = House()
    client_id, topic = unique("kept"), unique()
    c = house.connected(client_id, clean=False, properties={"session_expiry": 300})
    c.subscribed(topic, qos=1)
    c.disconnect()
    publisher = house.connected()
    for start in range(0, 20000, 500):
        publisher.send(b"".join(mqtt.publish(V5, topic, f"{start + i}".ljust(200), 1, i + 1)
                                for i in range(500)))
        for _ in range(500):
            publisher.expect(mqtt.PUBACK)
        publisher.got.clear()
    begun = time.monotonic()
    for _ in range(300):
        with Client(house.address, V5, client_id, receive_buffer=4096) as c:
            c.send(mqtt.connect(V5, client_id, clean=False, properties={"session_expiry": 300}))
    check(house.ask_bystander() < patient(5), "the bystander waits")
    # A CONNECT may be read after its client has gone, and takes over then: let them all pass.
    for _ in range(2):
        wait_for(lambda: metric(house, "grapevine_connections") == 2
                 and descriptors(house.node) <= house.descriptors + 1, patient(20), "all of them are served")
        time.sleep(0.5)
    check(time.monotonic() - begun < patient(20), "three hundred connects took too long")
    c = house.connected(client_id, clean=False, properties={"session_expiry": 300})
    for i in range(20000):
        check_equal(int(c.take(topic).payload), i, "the queue, in order and whole")
        if i % 1000 == 0:
            c.got.clear()
    c.disconnect(0, {"session_expiry": 0})
    publisher.cut()
    house.end()


@case
def sessions_for_ids_never_used_again():
    house = House()

    def once(_):
        with house.client() as c:
            c.connect(clean=False, properties={"session_expiry": 1})
            c.subscribe(unique() + "/+", unique(), qos=1)

    everywhere(once, range(2000))

    wait_for(lambda: metric(house, "grapevine_sessions") == 1, patient(15), "expired sessions are gone")
    house.end()


# ---- other ports ---------------------------------------------------------------------------------


@case
def garbage_on_the_admin_port():
    house = House()
    rng = random.Random(SEED)
    jobs = [rng.randbytes(rng.choice((1, 10, 1000, 100000))) for _ in range(60)]
    jobs += [rich_connect(V5), b"GET " + b"/a" * 50000 + b" HTTP/1.1\r\n\r\n",
             b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
             b"GET /%00%zz%2e%2e/ HTTP/1.1\r\n\r\n", b"POST /api/v1/status HTTP/1.1\r\n"
             b"Content-Length: 99999999999999\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
             b"GET / HTTP/1.1\r\nAuthorization: Basic " + b"A" * 9000 + b"\r\n\r\n"]

    def throw(garbage):
        with socket.create_connection(("127.0.0.1", house.node.admin_port), patient(5)) as s:
            s.settimeout(0.3)
            try:
                s.sendall(garbage)
                s.recv(65536)
            except OSError:
                pass

    everywhere(throw, jobs)
    check_equal(house.node.http("/livez")[0], 200, "/livez")
    house.end()


if __name__ == "__main__":
    main()
