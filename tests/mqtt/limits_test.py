#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is bounded, seen from outside: queues, output, strangers; and limits that change."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import TIMEOUT_S, Client, unique
from harness import Node, case, check, check_equal, main, patient, wait_for
from packets import V5, V311, Will

MIB = 1024  # in KiB, as /proc says it


def node_with(stored=None, **settings):
    """With settings of mqtt and, as a dictionary, of storage."""
    return Node(settings={**{f"mqtt.{key}": value for key, value in settings.items()},
                          **{f"storage.{key}": value for key, value in (stored or {}).items()}}).start()


def joined(node, client_id=None, version=V5, **options):
    client = Client(("127.0.0.1", node.port), version, client_id)
    client.connack = client.connect(**options)
    return client


def counters(node):
    status = node.api("/api/v1/status")
    return {**status["counters"], **status["messages"]["dropped"]}


def memory_kib(node):
    """None where a sanitizer's shadow makes it meaningless."""
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        text = status.read()
    size, resident = (int(re.search(rf"{key}:\s+(\d+)", text)[1]) for key in ("VmSize", "VmRSS"))
    return None if size > 1 << 32 else resident


def check_grown(node, before, mib_max, what):
    now = memory_kib(node)
    if now is not None:
        check(now - before < mib_max * MIB, f"{what} cost {(now - before) / MIB:.0f} MiB")


# ---- queues --------------------------------------------------------------------------------------


def waiting_after(node, payloads, count):
    """What a session that was away finds in its queue after these were published: count() of them."""
    topic, sleeper = unique("queue"), unique("sleeper")
    joined(node, sleeper, clean=False, properties={"session_expiry": 60}) \
        .subscribed(topic, qos=1).disconnect()
    with joined(node) as publisher:
        for payload in payloads:
            publisher.publish(topic, payload, qos=1)
    back = joined(node, sleeper, clean=False, properties={"session_expiry": 60})
    found = [packet.payload for packet in back.collect(count())]
    back.cut()
    return found


@case
def a_full_queue_drops_the_oldest():
    node = node_with(stored={"queue_messages_max": 3})
    check_equal(waiting_after(node, [b"1", b"2", b"3", b"4", b"5"], lambda: 3), [b"3", b"4", b"5"],
                "queue")
    check_equal(counters(node)["queue_full"], 2, "dropped")


@case
def what_waits_for_a_session_that_ends_is_counted():
    node = node_with()
    topic, sleeper = unique("queue"), unique("sleeper")
    joined(node, sleeper, clean=False, properties={"session_expiry": 60}) \
        .subscribed(topic, qos=1).disconnect()
    with joined(node) as publisher:
        for payload in (b"1", b"2", b"3"):
            publisher.publish(topic, payload, qos=1)
    check_equal(counters(node)["session_ended"], 0, "dropped before")
    joined(node, sleeper, clean=True).disconnect()
    check_equal(counters(node)["session_ended"], 3, "dropped")


@case
def a_full_queue_drops_the_newest():
    node = node_with(stored={"queue_messages_max": 3}, queue_policy="drop_newest")
    check_equal(waiting_after(node, [b"1", b"2", b"3", b"4", b"5"], lambda: 3), [b"1", b"2", b"3"],
                "queue")
    check_equal(counters(node)["queue_full"], 2, "dropped")


@case
def a_queue_is_bounded_in_bytes_too():
    node = node_with(stored={"queue_bytes_max": "4KiB"})
    found = waiting_after(node, [bytes([48 + i]) * 1000 for i in range(10)],
                          lambda: 10 - counters(node)["queue_full"])
    check(found[-1] == b"9" * 1000, "the newest is there")
    check(2 <= len(found) <= 4, f"{len(found)} messages of 1000 bytes in 4 KiB")
    check_equal(counters(node)["queue_full"], 10 - len(found), "dropped")


@case
def a_message_larger_than_the_whole_queue_does_not_empty_it():
    node = node_with(stored={"queue_bytes_max": "4KiB"})
    check_equal(waiting_after(node, [b"1", b"x" * 5000, b"2"], lambda: 2), [b"1", b"2"], "queue")
    check_equal(counters(node)["queue_full"], 1, "dropped")


@case
def retained_messages_have_a_limit():
    node = node_with(retained_messages_max=20, sys_interval="0")
    client, base = joined(node), unique()
    reasons = [client.publish(f"{base}/{i}", b"x", qos=1, retain=True).reason for i in range(30)]
    check_equal([reason for reason in reasons if reason >= 0x80], [0x97] * 10, "refused")
    check_equal(reasons[20:], [0x97] * 10, "the last ones")
    check(client.publish(f"{base}/3", b"new", qos=1, retain=True).reason < 0x80, "a replacement")
    check(client.publish(f"{base}/25", b"plain", qos=1).reason < 0x80, "who does not retain")
    status = node.api("/api/v1/status")
    check_equal((status["retained"], status["messages"]["dropped"]["retained_full"]), (20, 10),
                "kept and refused")
    client.publish(f"{base}/3", b"", qos=1, retain=True)
    check(client.publish(f"{base}/25", b"x", qos=1, retain=True).reason < 0x80, "there is room")
    reader = joined(node).subscribed(f"{base}/#")
    check_equal(sorted(reader.expect_publish().topic for _ in range(20)),
                sorted(f"{base}/{i}" for i in [*range(3), *range(4, 20), 25]), "kept")
    reader.expect_nothing()


@case
def retained_messages_have_a_limit_in_bytes():
    node = node_with(retained_bytes_max="100KiB", sys_interval="0")
    client, base = joined(node), unique()
    kept = [client.publish(f"{base}/{i}", bytes(10000), qos=1, retain=True).reason < 0x80
            for i in range(20)]
    check(8 <= kept.count(True) <= 10, f"{kept.count(True)} of 10 KB each in 100 KiB")
    first_refused = kept.index(False)
    check(client.publish(f"{base}/{first_refused}", b"", qos=1, retain=True).reason < 0x80, "clears")
    check(client.publish(f"{base}/0", bytes(10000), qos=1, retain=True).reason < 0x80, "as large")
    check_equal(client.publish(f"{base}/0", bytes(30000), qos=1, retain=True).reason, 0x97, "larger")


@case
def a_full_queue_disconnects_its_client():
    node = node_with(queue_messages_max=3, inflight_max=1, queue_policy="disconnect")
    topic = unique("queue")
    with joined(node) as slow, joined(node) as publisher:
        slow.subscribed(topic, qos=1)
        for i in range(5):
            publisher.publish(topic, str(i), qos=1)
        slow.expect_publish(topic, b"0")
        check_equal(slow.expect_close(), 0x97, "reason")
    check_equal(counters(node)["queue_full_closed_total"], 1, "counted")


# ---- output --------------------------------------------------------------------------------------


@case
def answers_that_nobody_reads_are_bounded():
    node = node_with(output_bytes_max="256KiB")
    count = 4_000_000
    with Client(("127.0.0.1", node.port), V5, receive_buffer=4096) as deaf:
        deaf.connect(keep_alive=0)
        before = memory_kib(node)
        deaf.socket.settimeout(1)
        chunk = mqtt.pingreq() * 100000
        sent = 0
        try:
            while sent < count * 2:
                sent += deaf.socket.send(chunk)
        except TimeoutError:
            pass  # it is not read from any more: good
        deaf.socket.settimeout(TIMEOUT_S)
        check(sent < count * 2, "8 MB of PINGREQ were taken")
        check_grown(node, before, 8, "answers that nobody reads")
        got = 0
        while got < sent // 2 * 2:  # and now all of them come
            chunk = deaf.socket.recv(1 << 20)
            check(chunk, "the connection was closed")
            got += len(chunk)


# ---- before CONNECT ------------------------------------------------------------------------------


@case
def strangers_cost_little():
    node = Node(settings={"mqtt.connect_timeout": "60s"}).start()
    before = memory_kib(node)
    half = b"\x10" + mqtt.varint(8000) + b"\0\4MQTT\5" + bytes(7000)
    strangers = [Client(("127.0.0.1", node.port)) for _ in range(500)]
    for stranger in strangers:
        stranger.send(half)
    too_large = Client(("127.0.0.1", node.port))
    too_large.send(b"\x10" + mqtt.varint(9000))
    too_large.expect_close()
    wait_for(lambda: sum(listener["connections"] for listener in
                         node.api("/api/v1/status")["listeners"]) == 500, patient(10), "500 are in")
    check_grown(node, before, 12, "500 half CONNECTs")
    for stranger in strangers:
        stranger.cut()


@case
def connect_may_be_allowed_more_than_other_packets():
    node = node_with(packet_size_max="1KiB", connect_size_max="512KiB")
    for version in (V311, V5):
        client = Client(("127.0.0.1", node.port), version, "c" * 1000)
        properties = {"user_property": [("k", "v" * 60000)] * 2} if version == V5 else None
        client.connect(will=Will("w", bytes(60000)), username="u" * 60000, password=b"p" * 60000,
                       properties=properties)
        client.send(mqtt.publish(version, "t", bytes(1100)))
        check_equal(client.expect_close(), 0x95 if version == V5 else None, "reason")


@case
def a_will_has_to_keep_to_the_limits_of_topics():
    node = node_with(topic_levels_max=3, topic_size_max=50)
    for topic, told in (("a/b/c/d", 0x90), ("x" * 51, 0x90), ("$SYS/broker/version", 0x87)):
        client = Client(("127.0.0.1", node.port))
        client.send(mqtt.connect(V5, client.client_id, will=Will(topic)))
        check_equal(client.expect_close(), told, topic)
    joined(node, will=Will("a/b/c")).cut()


# ---- a reload ------------------------------------------------------------------------------------


class Reloaded:
    """A node that runs by a file, which is written anew."""

    def __init__(self, **limits):
        self.node = Node()
        self._path = f"{self.node.data}.conf"
        command = self.node.command
        self.node.command = lambda: [*command(), "-c", self._path]
        self._write(limits)
        self.node.start()

    def _write(self, limits):
        with open(self._path, "w", encoding="ascii") as out:
            out.writelines(f"mqtt.{key} = {value}\n" for key, value in limits.items())

    def reload(self, **limits):
        """Returns when connections that come get the new limits."""
        self._write(limits)
        self.node.hangup()

        def is_told():
            with joined(self.node) as client:
                told = client.connack.properties
                return all(told.get(self.NAMES[key]) == value for key, value in limits.items())
        # Each client has another shard, which hears of it when it has the time.
        wait_for(lambda: all(is_told() for _ in range(16)), patient(10), "the new limits are told")

    NAMES = {"receive_max": "receive_maximum", "topic_alias_max": "topic_alias_maximum",
             "packet_size_max": "maximum_packet_size"}


@case
def what_a_client_was_told_holds_after_a_reload():
    run = Reloaded(receive_max=20, topic_alias_max=10, packet_size_max=100000)
    old = joined(run.node)
    run.reload(receive_max=2, topic_alias_max=1, packet_size_max=1000)
    new = joined(run.node)
    for packet_id in range(1, 21):
        old.send(mqtt.publish(V5, "t", b"x", 2, packet_id))
    for packet_id in range(1, 21):
        old.expect(mqtt.PUBREC, packet_id=packet_id)
    old.send(mqtt.publish(V5, "t", bytes(90000)))
    old.send(mqtt.publish(V5, "t", b"x", properties={"topic_alias": 10}))
    old.ping()
    new.send(mqtt.publish(V5, "t", b"x", properties={"topic_alias": 2}))
    check_equal(new.expect_close(), 0x94, "the new alias maximum")
    with joined(run.node) as new:
        new.send(mqtt.publish(V5, "t", bytes(2000)))
        check_equal(new.expect_close(), 0x95, "the new packet size")
    old.send(mqtt.publish(V5, "t", b"x", 2, 21))
    check_equal(old.expect_close(), 0x93, "the old receive maximum")


@case
def what_is_allowed_later_is_for_who_comes_later():
    run = Reloaded(packet_size_max=1000)
    old = joined(run.node)
    run.reload(packet_size_max=1000000)
    with joined(run.node) as new:
        topic = unique("large")
        new.subscribed(topic)
        new.publish(topic, bytes(900000), qos=0)
        check_equal(len(new.expect_publish(topic).payload), 900000, "payload")
    old.send(mqtt.publish(V5, "t", bytes(2000)))
    check_equal(old.expect_close(), 0x95, "the old packet size")


if __name__ == "__main__":
    main()
