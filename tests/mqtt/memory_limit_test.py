#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node with little memory, and those who want to fill it: promise P9.

Whatever fills it, the process stays small, what is new is refused with the right reason, clients
that behave are served all the while, and the memory comes back.
"""

import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, Closed, unique
from harness import Node, at_end, case_of, check, check_equal, main, patient, wait_for
from packets import V5, V311

MIB = 1 << 20
LIMIT = 64 * MIB

# What is counted is at most the limit; the rest is the allocator's, the store's map, stacks, code.
RESIDENT_MAX = LIMIT + 48 * MIB

QUOTA_EXCEEDED = 0x97


class SmallNode:
    """A node with LIMIT, its size watched, and a pair of clients that behave."""

    def __init__(self, **settings):
        self.node = Node(settings={"node.memory_max": f"{LIMIT >> 20}MiB", "node.shards": 2,
                                   **{f"mqtt.{key}": value for key, value in settings.items()}})
        self.node.start()
        self.largest = 0
        self.topic = unique("pair")
        self.receiver = self.client()
        self.receiver.subscribed(self.topic, qos=1)
        self.sender = self.client()
        self._sent = 0
        self._ends = threading.Event()
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        at_end(lambda: (self._ends.set(), watcher.join()))

    def client(self, version=V5, **options):
        client = Client(("127.0.0.1", self.node.port), version, **options)
        at_end(client.cut)
        client.connect(keep_alive=0)
        return client

    def _watch(self):
        while not self._ends.wait(0.05):
            self.largest = max(self.largest, self.resident() or 0)

    def resident(self):
        """None where a sanitizer's shadow makes it meaningless."""
        try:
            with open(f"/proc/{self.node.pid}/status", encoding="ascii") as status:
                text = status.read()
            size, anonymous = (int(re.search(rf"{key}:\s+(\d+)", text)[1]) * 1024
                               for key in ("VmSize", "RssAnon"))
        except (OSError, TypeError):
            return None
        return None if size > 1 << 42 else anonymous

    def memory(self):
        return self.node.api("/api/v1/status")["memory"]

    def counters(self):
        status = self.node.api("/api/v1/status")
        return {**status["counters"], **status["messages"]["dropped"]}

    def is_scarce(self):
        return self.memory()["state"] != "enough"

    def serves(self):
        """Those who were here before and keep up notice nothing."""
        self._sent += 1
        payload = str(self._sent).encode()
        check_equal(self.sender.publish(self.topic, payload, qos=1).reason, 0, "PUBACK")
        self.receiver.take(self.topic, payload)

    def refuses_what_is_new(self):
        for version, reason in ((V5, QUOTA_EXCEEDED), (V311, 3)):
            with Client(("127.0.0.1", self.node.port), version) as stranger:
                stranger.send(mqtt.connect(version, stranger.client_id))
                check_equal(stranger.receive().reason, reason, "CONNACK")
        check_equal(self.sender.subscribe(unique("new"), qos=1).codes, [QUOTA_EXCEEDED], "SUBACK")
        check_equal(self.sender.publish(unique("new"), b"x", qos=1, retain=True).reason,
                    QUOTA_EXCEEDED, "PUBACK of a retained message")
        counters = self.counters()
        for name in ("connects", "subscribes", "retained"):
            check(counters[f"{name}_memory_refused_total"] > 0, f"{name}: refusals are not counted")

    def recovers(self, seconds=30):
        """The memory comes back, to the system too, and what is new is welcome."""
        wait_for(lambda: not self.is_scarce(), patient(seconds), "there is enough memory again", 0.2)
        self.serves()
        with self.client() as newcomer:
            newcomer.subscribed(unique("new"), qos=1)
        wait_for(lambda: (self.resident() or 0) < self.memory()["in_use_bytes"] + LIMIT * 5 // 8,
                 patient(10), "the system has it back", 0.2)

    def stayed_small(self):
        print(f"# largest: {self.largest >> 20} MiB, now {(self.resident() or 0) >> 20} MiB, "
              f"in use {self.memory()['in_use_bytes'] >> 20} MiB of {LIMIT >> 20}")
        check(self.largest < RESIDENT_MAX, f"the process had {self.largest >> 20} MiB")


def push(client, raw):
    """As much of it as is taken now; returns how much.  Who has been sent away takes nothing."""
    client.socket.setblocking(False)
    try:
        return client.socket.send(raw)
    except (BlockingIOError, ConnectionResetError, BrokenPipeError):
        return 0
    finally:
        client.socket.settimeout(patient(10))


def drained(client):
    """What has come by now; raises Closed at the end."""
    found = []
    while (packet := client.receive(0)) is not None:
        found.append(packet)
    return found


# ---- readers that do not read ---------------------------------------------------------------------


class Flood:
    """A publisher that keeps some messages on the way and counts how they were answered."""

    def __init__(self, small, topic, qos, version=V5):
        self.client = small.client(version)
        self.topic, self.qos, self.version = topic, qos, version
        self.on_the_way = self.accepted = self.refused = 0
        self.rest = b""

    def step(self):
        for packet in drained(self.client):
            if packet.kind == mqtt.PUBREC and (self.version < V5 or packet.reason < 0x80):
                self.client.ack(mqtt.PUBREL, packet.packet_id)
                continue
            self.on_the_way -= 1
            refused = self.version >= V5 and packet.reason >= 0x80
            check(not refused or packet.reason == QUOTA_EXCEEDED, f"refused with {packet}")
            self.refused += refused
            self.accepted += not refused
        while not self.rest and (self.qos == 0 or self.on_the_way < 50):
            packet_id = self.client.next_id() if self.qos else None
            self.rest = mqtt.publish(self.version, self.topic, bytes(3000), self.qos, packet_id)
            self.on_the_way += self.qos > 0
            sent = push(self.client, self.rest)
            self.rest = self.rest[sent:]
            if self.qos == 0:
                break


@case_of(seconds=180)
def readers_that_do_not_read_at_any_qos():
    small = SmallNode()
    topics = [unique(f"deaf{qos}") for qos in range(3)]
    deaf = [small.client(receive_buffer=4096) for _ in range(150)]
    for i, client in enumerate(deaf):
        client.subscribed(topics[i % 3], qos=i % 3)
    floods = [Flood(small, topics[qos], qos, version) for qos in range(3) for version in (V5, V311)]
    refusing = False
    for _ in range(4000):
        for flood in floods:
            flood.step()
        small.serves()
        if small.memory()["scarce_times"] == 0:
            continue
        if not refusing and small.is_scarce():
            refusing = True
        if refusing and small.counters()["memory_closed_total"] > 5:
            break
    counters = small.counters()
    check(small.memory()["scarce_times"] > 0, "memory never became scarce")
    check(counters["memory_closed_total"] > 0, "nobody gave way")
    for flood in floods:
        flood.client.cut()
    small.serves()
    for client in deaf:
        client.cut()
    small.recovers()
    small.stayed_small()


@case_of(seconds=180)
def messages_that_nobody_takes_are_refused_and_their_publishers_paused():
    """Readers that take everything and acknowledge nothing: it all waits in queues."""
    small = SmallNode(queue_bytes_max="1GiB", output_bytes_max="1MiB", inflight_max=8)
    topic = unique("unconfirmed")
    idle = small.client()
    idle.subscribed(topic, qos=2)
    flood = [Flood(small, topic, qos) for qos in (1, 2)]
    old = Flood(small, topic, 1, V311)

    def is_refused():
        for one in (*flood, old):
            one.step()
        try:
            drained(idle)
        except Closed:
            return True
        small.serves()
        return all(one.refused > 0 for one in flood)
    wait_for(is_refused, patient(60), "both publishers are refused", 0)
    check(all(one.refused > 0 for one in flood), "the reader was closed before anybody was refused")
    small.refuses_what_is_new()
    wait_for(lambda: old.step() or small.counters()["publishers_starved_total"] > 0, patient(10),
             "the publisher of MQTT 3.1.1 is paused", 0)
    check(small.counters()["memory"] > 0, "refused messages are not counted")
    small.serves()
    wait_for(lambda: not small.is_scarce(), patient(30), "who does not move gives way", 0.2)
    check(small.counters()["memory_closed_total"] > 0, "and is counted")
    old.client.send(old.rest + mqtt.pingreq())
    wait_for(lambda: any(packet.kind == mqtt.PINGRESP for packet in drained(old.client)),
             patient(10), "the paused publisher is listened to again")
    small.recovers()
    small.stayed_small()


# ---- state that only grows ------------------------------------------------------------------------


@case_of(seconds=180)
def retained_messages_with_ever_new_topics():
    small = SmallNode()
    client = small.client()
    codes = {}

    def publish(number, payload, window=100):
        topic = f"retained/{number}"
        client.send(mqtt.publish(V5, topic, payload, 1, number % 60000 + 1, retain=True))
        if len(codes) + window <= number:
            collect()

    def collect():
        answer = client.expect(mqtt.PUBACK)
        codes[answer.packet_id] = answer.reason
    number = 0
    while QUOTA_EXCEEDED not in codes.values():
        check(number < 50000, "200 MB of retained messages were taken")
        publish(number, bytes(4000))
        number += 1
        if number % 500 == 0:
            small.serves()
    while len(codes) < number:
        collect()
    kept = sum(code < 0x80 for code in codes.values())
    check(LIMIT // 2 < kept * 4000 < LIMIT, f"{kept} of 4000 bytes were kept")
    small.refuses_what_is_new()
    for size in (100, 0):  # smaller, and none: always
        check(client.publish("retained/0", bytes(size), qos=1, retain=True).reason < 0x80, "PUBACK")
    by_kind = small.memory()["by_kind"]
    check(by_kind["retained"] > LIMIT // 2, f"the account says {by_kind}")
    small.serves()
    codes.clear()
    for again in range(number):
        publish(again, b"")
    while len(codes) < number:
        collect()
    check(max(codes.values()) < 0x80, "clearing was refused")
    small.recovers()
    small.stayed_small()


@case_of(seconds=180)
def subscriptions_without_end():
    small = SmallNode(topic_levels_max=200)
    greedy = [small.client() for _ in range(4)]
    refused = 0
    for number in range(2000):
        client = greedy[number % 4]
        filters = [f"{number}/{i}/{'x' * 1000}" for i in range(100)]
        codes = client.subscribe(*filters, qos=1).codes
        check(all(code in (1, QUOTA_EXCEEDED) for code in codes), f"SUBACK {set(codes)}")
        refused += codes.count(QUOTA_EXCEEDED)
        small.serves()
        if refused > 200:
            break
    check(refused > 0, "200,000 subscriptions were taken")
    small.refuses_what_is_new()
    check_equal(greedy[0].subscribe(f"0/0/{'x' * 1000}", qos=1).codes, [1], "one that is there")
    small.serves()
    for client in greedy:
        client.cut()
    small.recovers()
    small.stayed_small()


# ---- senders that do not finish -------------------------------------------------------------------


@case_of(seconds=180)
def large_packets_that_are_half_sent():
    small = SmallNode()
    half = mqtt.publish(V5, "half", bytes(900000), 0)[:500000]
    slow = [small.client() for _ in range(400)]
    rests = [half] * len(slow)

    def goes_on():
        for i, client in enumerate(slow):
            rests[i] = rests[i][push(client, rests[i][:65536]):]
        small.serves()
        return small.counters()["memory_closed_total"] > 10
    wait_for(goes_on, patient(60), "some of them give way", 0)
    check(small.memory()["scarce_times"] > 0, "memory was scarce")
    small.serves()
    told = set()
    for client in slow:
        try:
            told |= {packet.reason for packet in drained(client)}
        except (Closed, OSError):
            told |= {packet.reason for packet in client.got if packet.kind == mqtt.DISCONNECT}
    check(told <= {QUOTA_EXCEEDED}, f"disconnected with {told}")
    for client in slow:
        client.cut()
    small.recovers()
    small.stayed_small()


@case_of(seconds=60)
def neither_questions_nor_events_change_the_account():
    """What is made for an answer, or for an event on $SYS, is freed again, and counted both times."""
    small = SmallNode()
    small.client().subscribed("$SYS/brokers/#")
    with small.client():
        pass
    before = small.memory()["by_kind"]["other"]
    for _ in range(200):
        small.counters()
    for _ in range(200):
        with small.client():
            pass
    check(before > 0, "nothing is counted")
    wait_for(lambda: abs(small.memory()["by_kind"]["other"] - before) < 32 * 1024, patient(5),
             f"{before} bytes are counted, as before")


# ---- limits of a kind ------------------------------------------------------------------------------


@case_of(seconds=60)
def sessions_have_a_total():
    small = SmallNode(sessions_max=4)
    keeping = small.client()
    keeping.disconnect()
    sleeper = Client(("127.0.0.1", small.node.port), V5, unique("sleeper"))
    sleeper.connect(clean=False, properties={"session_expiry": 600})
    sleeper.disconnect()
    with small.client():
        for version, reason in ((V5, QUOTA_EXCEEDED), (V311, 3)):
            with Client(("127.0.0.1", small.node.port), version) as stranger:
                stranger.send(mqtt.connect(version, stranger.client_id))
                check_equal(stranger.receive().reason, reason, "CONNACK")
        back = Client(("127.0.0.1", small.node.port), V5, sleeper.client_id)
        check(back.connect(clean=False).session_present, "the session that is there goes on")
        back.disconnect()
    check_equal(small.counters()["sessions_max_refused_total"], 2, "counted")
    small.serves()


if __name__ == "__main__":
    main()
