#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Takeovers, subscriptions and publishes all at once, on real threads, with a ledger.

Callers share a few client ids, so that most connections end by being taken over; they subscribe
and unsubscribe, publish at all QoS, acknowledge what comes, and leave in every way.  A witness with
a persistent session subscribes to everything.  In the end it has every message that was
acknowledged to its publisher, at QoS 2 once, and in the order of each publisher.

    GRAPEVINE_STORM_SECONDS=600 tests/mqtt/storm_test.py      # longer; with any build in GRAPEVINE_BIN
"""

import collections
import itertools
import os
import random
import sys
import pathlib
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, Unexpected, unique
from harness import Node, case_of, check, check_equal, main, patient
from packets import V5, V31, V311, Will

SECONDS = float(os.environ.get("GRAPEVINE_STORM_SECONDS", "8"))
SEED = int(os.environ.get("GRAPEVINE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
CALLERS, CLIENT_IDS, TOPICS = 12, 8, 6


class Ledger:
    """What callers were promised."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged = set()
        self.counts = collections.Counter()

    def promise(self, payloads):
        with self.lock:
            self.acknowledged.update(payloads)


class Ids:
    """
    Packet ids of one client id, for all who use it.  A session remembers a QoS 2 exchange that was
    cut short, and takes the next message under its id for a repetition; so that id is not used.
    """

    def __init__(self):
        self._next = itertools.count(1)
        self.cut_short = set()

    def next(self):
        while True:
            packet_id = next(self._next) % 65535 + 1
            if packet_id not in self.cut_short:
                return packet_id


class Call:
    """One connection of a caller, until it has enough or is taken over."""

    def __init__(self, storm, rng, name):
        self.storm, self.rng, self.name = storm, rng, name
        self.version = rng.choice((V31, V311, V5))
        who = rng.randrange(CLIENT_IDS)
        self.ids = storm.ids[who]
        self.client = Client(storm.address, self.version, f"{storm.base}c{who}")
        self.waiting = {}   # packet id: payload
        self.begun = set()  # packet ids of QoS 2 without PUBCOMP
        self.numbers = itertools.count()

    def connect(self):
        rng = self.rng
        properties = {}
        if self.version >= V5:
            properties = {"session_expiry": rng.choice((0, 1, 300)),
                          "receive_maximum": rng.choice((1, 5, 100)),
                          "topic_alias_maximum": rng.choice((0, 1, 20))}
        will = Will(f"{self.storm.base}/will", b"will") if rng.random() < 0.3 else None
        clean = rng.random() < 0.4
        connack = self.client.connect(clean=clean, will=will, properties=properties or None)
        if clean or (self.version > V31 and not connack.session_present):
            self.ids.cut_short.clear()

    def answer(self, packet):
        c = self.client
        if packet.kind == mqtt.PUBLISH and packet.qos:
            if self.rng.random() < 0.9:
                c.ack(mqtt.PUBACK if packet.qos == 1 else mqtt.PUBREC, packet.packet_id)
        elif packet.kind == mqtt.PUBREL:
            c.ack(mqtt.PUBCOMP, packet.packet_id)
        elif packet.kind == mqtt.PUBCOMP:
            self.begun.discard(packet.packet_id)
        elif packet.kind in (mqtt.PUBACK, mqtt.PUBREC):
            payload = self.waiting.pop(packet.packet_id, None)
            if payload is not None and packet.reason < 0x80:
                self.storm.ledger.promise([payload])
            if packet.kind == mqtt.PUBREC and packet.reason < 0x80:
                c.ack(mqtt.PUBREL, packet.packet_id)

    def listen(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            packet = self.client.receive(left)
            if packet is not None:
                self.storm.ledger.counts[mqtt.NAMES[packet.kind]] += 1
                self.answer(packet)
                self.client.got.clear()

    def speak(self):
        rng, c, base = self.rng, self.client, self.storm.base
        filters = (f"{base}/#", f"{base}/+", f"{base}/{rng.randrange(TOPICS)}",
                   f"$share/g/{base}/+", "#")
        what = rng.random()
        if what < 0.15:
            c.send(mqtt.subscribe(self.version, self.ids.next(),
                                  [(rng.choice(filters), rng.randrange(3))]))
        elif what < 0.2:
            c.send(mqtt.unsubscribe(self.version, self.ids.next(), [rng.choice(filters)]))
        else:
            burst = b""
            for _ in range(rng.randrange(1, 12)):
                qos = rng.randrange(3)
                payload = f"{self.name}:{next(self.numbers)}:{qos}".encode()
                packet_id = self.ids.next() if qos else None
                if qos:
                    self.waiting[packet_id] = payload
                if qos == 2:
                    self.begun.add(packet_id)
                burst += mqtt.publish(self.version, f"{base}/{rng.randrange(TOPICS)}", payload, qos,
                                      packet_id)
            c.send(burst)

    def run(self):
        try:
            self.connect()
            for _ in range(self.rng.randrange(1, 20)):
                self.speak()
                self.listen(self.rng.choice((0, 0.002, 0.01)))
            how = self.rng.random()
            if how < 0.3:
                self.listen(0.1)
                self.client.send(mqtt.disconnect(self.version))
            elif how < 0.4:
                self.client.reset()
                return
            elif how < 0.6:
                self.storm.left_open(self.client)
                return
            self.client.cut()
        except (Unexpected, OSError):  # taken over
            self.client.cut()
        finally:
            self.ids.cut_short |= self.begun


class Storm:
    def __init__(self, node):
        self.address = ("127.0.0.1", node.port)
        self.base = unique("storm")
        self.ledger = Ledger()
        self.ids = [Ids() for _ in range(CLIENT_IDS)]
        self.open = collections.deque(maxlen=10)  # connections nobody reads any more
        self.until = time.monotonic() + SECONDS
        self.witness = Client(self.address, V5)
        self.witness.connect(keep_alive=0, clean=True, properties={"session_expiry": 3600})
        self.witness.subscribed(f"{self.base}/#", qos=2)
        self.order = {}
        self.seen = collections.Counter()
        self.is_over = threading.Event()
        self.errors = []

    def left_open(self, client):
        self.open.append(client)

    def caller(self, number):
        rng = random.Random(SEED + number)
        for i in itertools.count():
            if time.monotonic() > self.until or self.errors:
                return
            Call(self, rng, f"{number}.{i}").run()
            self.ledger.counts["calls"] += 1

    def note(self, packet):
        """A message has come to the witness."""
        if packet.payload == b"will":
            return
        name, number, asked = packet.payload.decode().split(":")
        self.seen[packet.payload] += 1
        key = (name, packet.topic, asked)
        check(packet.dup or int(number) > self.order.get(key, -1), f"{packet} out of order")
        self.order[key] = max(int(number), self.order.get(key, -1))
        if asked == "2":
            check_equal(self.seen[packet.payload], 1, f"copies of {packet.payload}")

    def watch(self):
        held = {}
        try:
            while not self.is_over.is_set():
                packet = self.witness.receive(0.2)
                if packet is None:
                    continue
                self.witness.got.clear()
                if packet.kind == mqtt.PUBLISH:
                    if packet.qos < 2 or packet.packet_id not in held:
                        self.note(packet)
                    if packet.qos == 2:
                        held[packet.packet_id] = True
                    if packet.qos:
                        self.witness.ack(mqtt.PUBACK if packet.qos == 1 else mqtt.PUBREC,
                                         packet.packet_id)
                elif packet.kind == mqtt.PUBREL:
                    held.pop(packet.packet_id, None)
                    self.witness.ack(mqtt.PUBCOMP, packet.packet_id)
        except Exception as error:  # told by the case
            self.errors.append(error)

    def missing(self):
        return [payload for payload in list(self.ledger.acknowledged) if not self.seen[payload]]


@case_of(seconds=120 + 2 * SECONDS)
def a_storm_with_a_ledger():
    print(f"# seed {SEED}, {SECONDS:g} s")
    node = Node(settings={"mqtt.queue_messages_max": 1000000, "mqtt.queue_bytes_max": "256MiB",
                          "log.level": "warn"}).start()
    storm = Storm(node)
    callers = [threading.Thread(target=storm.caller, args=(i,)) for i in range(CALLERS)]
    watcher = threading.Thread(target=storm.watch)
    for thread in [watcher, *callers]:
        thread.start()
    for thread in callers:
        thread.join()
    end = time.monotonic() + patient(30)
    while storm.missing() and not storm.errors and time.monotonic() < end:
        time.sleep(0.2)
    storm.is_over.set()
    watcher.join()
    for client in storm.open:
        client.cut()
    storm.witness.cut()
    counts = storm.ledger.counts
    print(f"# {counts['calls']} calls, {len(storm.ledger.acknowledged)} messages acknowledged, "
          f"{sum(storm.seen.values())} witnessed, {counts['PUBLISH']} heard by callers")
    check(not storm.errors, f"the witness: {storm.errors}")
    check(not storm.missing(), f"acknowledged and lost: {storm.missing()[:5]}")
    check(counts["calls"] > CALLERS and storm.ledger.acknowledged, "nothing happened")
    check(node.is_running(), "the node has ended")
    node.stop(60)


if __name__ == "__main__":
    main()
