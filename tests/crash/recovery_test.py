#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a node has to know after it was killed, one thing at a time: expiries, wills, damage."""
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

from harness import Node, case, check, check_equal, main, patient, program, wait_for
from packets import V5, V311, Will
from scene import (HOUR, check_payloads, connect, kill_and_start, leave, payloads_of, sleeper,
                   status, visitor)

# A message or session that has two seconds left when a node is killed has none left after three.
SHORT = 2
LONGER = 3.2


# ---- expiry -------------------------------------------------------------------------------------


@case
def messages_expire_while_the_node_is_down():
    node = Node().start()
    sleeping = sleeper(node, "t/#")
    publisher = visitor(node)
    for name, expiry in (("short", SHORT), ("long", 100), ("forever", None), ("short too", SHORT)):
        publisher.publish("t/1", name, 1,
                          properties=None if expiry is None else {"message_expiry": expiry})
    node.kill9()
    time.sleep(LONGER)
    node.start()
    c = connect(node, sleeping)
    left = c.take("t/1", "long").properties["message_expiry"]
    check(100 - LONGER - patient(15) <= left <= 100 - LONGER + 1, f"{left} s are left of 100")
    c.take("t/1", "forever")
    c.expect_nothing()
    check_equal(status(node, "messages", "dropped", "expired"), 2, "expired messages")


@case
def messages_expire_between_two_starts():
    """The time left is not given anew by a restart."""
    node = Node().start()
    sleeping = sleeper(node, "t")
    visitor(node).publish("t", "x", 1, properties={"message_expiry": SHORT + 1})
    for _ in range(4):
        time.sleep(LONGER / 4)
        kill_and_start(node)
    time.sleep(1)
    connect(node, sleeping).expect_nothing()


@case
def retained_messages_that_expire_leave_nothing_behind():
    node = Node(settings={"node.shards": 2, "mqtt.sys_interval": 0}).start()
    publisher = visitor(node)
    for i in range(300):
        publisher.publish(f"r/{i}", "x", 1, retain=True, properties={"message_expiry": SHORT})
    publisher.publish("r/long", "x", 1, retain=True, properties={"message_expiry": HOUR})
    publisher.publish("r/forever", "x", 1, retain=True)
    wait_for(lambda: status(node, "retained") == 2, patient(LONGER + 2), "those that are left")
    for i in range(300):
        publisher.publish(f"down/{i}", "x", 1, retain=True, properties={"message_expiry": SHORT})
    node.kill9()
    time.sleep(LONGER)
    node.start()
    wait_for(lambda: status(node, "retained") == 2, patient(5), "those that are left")
    node.stop()
    ran = subprocess.run([program("grapevine"), "store", "stats", "--json", node.data],
                         capture_output=True, check=True)
    check_equal(json.loads(ran.stdout)["tables"]["retained"]["records"], 2, "records of retained messages")


@case
def sessions_expire_while_the_node_is_down():
    node = Node().start()
    ids = {
        "short": sleeper(node, "t", expiry=SHORT),
        "long": sleeper(node, "t", expiry=HOUR),
        "forever": sleeper(node, "t", expiry=0xffffffff),
        "v3.1.1": sleeper(node, "t", version=V311),
    }
    visitor(node).publish("t", "x", 1)
    node.kill9()
    time.sleep(LONGER)
    node.start()
    for name, client_id in ids.items():
        c = connect(node, client_id, V311 if name == "v3.1.1" else V5)
        check_equal(c.connack.session_present, name != "short", f"Session Present of {name}")
        check_payloads(c, [] if name == "short" else [b"x"], f"messages of {name}")
    leave(connect(node, ids["short"], clean=True, expiry=0))
    kill_and_start(node)
    check_equal(status(node, "sessions"), 3, "sessions")


@case
def a_session_expires_though_the_node_is_killed_again_and_again():
    node = Node().start()
    sleeping = sleeper(node, "t", expiry=SHORT)
    for _ in range(6):
        time.sleep(LONGER / 6)
        kill_and_start(node)
    c = connect(node, sleeping)
    check_equal(c.connack.session_present, False, "Session Present")


@case
def the_expiry_of_a_connected_session_begins_when_its_node_is_killed():
    """At the latest when the node is back."""
    node = Node().start()
    short = connect(node, expiry=SHORT).subscribed("t", qos=1).client_id
    long = connect(node, expiry=HOUR).subscribed("t", qos=1).client_id
    killed = time.monotonic()
    kill_and_start(node)
    sessions = status(node, "sessions")
    if time.monotonic() - killed < SHORT:
        check_equal(sessions, 2, "sessions after the restart")
    wait_for(lambda: status(node, "sessions") == 1, patient(LONGER), "one session expires")
    check_equal(connect(node, long).connack.session_present, True, "Session Present")
    check_equal(connect(node, short).connack.session_present, False, "Session Present")


@case
def an_expiry_changed_by_disconnect_is_kept():
    node = Node().start()
    longer = connect(node, expiry=SHORT).subscribed("t", qos=1)
    longer.disconnect(0, {"session_expiry": HOUR})
    shorter = connect(node, expiry=HOUR).subscribed("t", qos=1)
    shorter.disconnect(0, {"session_expiry": SHORT})
    ended = connect(node, expiry=HOUR).subscribed("t", qos=1)
    ended.disconnect(0, {"session_expiry": 0})
    visitor(node).publish("t", "x", 1)  # acknowledged after what was done before it
    node.kill9()
    time.sleep(LONGER)
    node.start()
    for c, present in ((longer, True), (shorter, False), (ended, False)):
        again = connect(node, c.client_id)
        check_equal(again.connack.session_present, present, "Session Present")
        check_payloads(again, [b"x"] if present else [], "messages")


# ---- wills --------------------------------------------------------------------------------------


def with_will(node, payload, delay, version=V5):
    """A connected client with a will on will/PAYLOAD.  SUBACK tells that all of it is stored."""
    will = Will(f"will/{payload}", payload, 1,
                properties={"will_delay": delay} if version >= V5 else None)
    return connect(node, version=version, will=will).subscribed("unused", qos=1)


def wait_gone(node):
    """Waits until the node has noticed that all clients are gone, and has had time to store it.

    Nobody is told when it is stored: a node that is killed before has seen them go when it died.
    """
    wait_for(lambda: status(node, "connections", "current") == 0, patient(5), "all are gone")
    time.sleep(0.2 + patient(0.1))


@case
def wills_that_fell_due_while_the_node_was_down_are_published_once():
    node = Node().start()
    reader = sleeper(node, "will/#", qos=2)
    delay = SHORT + round(patient(0.5))
    due, later, back = (with_will(node, "due", delay), with_will(node, "later", HOUR),
                        with_will(node, "back", delay))
    taken_back = with_will(node, "taken-back", delay)
    leave(taken_back)
    for c in (due, later, back):
        c.cut()
    wait_gone(node)
    again = connect(node, back.client_id).subscribed("unused", qos=1)  # its will is gone, in time
    node.kill9()
    time.sleep(delay + LONGER - SHORT)
    node.start()
    del again
    c = connect(node, reader)
    check_payloads(c, [b"due"], "wills")
    leave(c)
    kill_and_start(node)
    check_payloads(connect(node, reader), [], "wills after one more restart")


@case
def a_will_without_delay_is_published_when_its_node_was_killed():
    """The connections of a node that dies end without DISCONNECT."""
    node = Node().start()
    reader = sleeper(node, "will/#")
    c5, c3 = with_will(node, "five", 0), with_will(node, "three", 0, V311)
    kill_and_start(node)
    check_equal(sorted(payloads_of(connect(node, reader), 2)), [b"five", b"three"], "wills")
    del c5, c3


@case
def a_delay_goes_on_after_a_restart():
    node = Node().start()
    reader = sleeper(node, "will/#")
    with_will(node, "x", SHORT).cut()
    wait_gone(node)
    kill_and_start(node)
    connect(node, reader).take("will/x", "x")


# ---- damage -------------------------------------------------------------------------------------


def spoil(node, needle, count=None):
    """Changes one byte of each occurrence of a text in the store; the node is down."""
    path = os.path.join(node.data, "data.mdb")
    with open(path, "r+b") as store:
        content = store.read()
        places, at = [], -1
        while (at := content.find(needle, at + 1)) >= 0:
            places.append(at + len(needle) - 1)
        check(places and (count is None or len(places) <= count),
              f"{needle} is in the store {len(places)} times")
        for place in places:
            store.seek(place)
            store.write(b"#")


@case
def damaged_records_are_set_aside():
    node = Node().start()
    sleeping = sleeper(node, "queue/#", "gone/1", "stays/1")
    publisher = visitor(node)
    for i in range(5):
        publisher.publish(f"queue/{i}", f"payload-number-{i}-of-the-queue", 1)
        time.sleep(0.05)  # a commit, and so a record, of its own
    for i in range(5):
        publisher.publish(f"kept/{i}", f"payload-number-{i}-that-is-kept", 1, retain=True)
    node.kill9()
    spoil(node, b"payload-number-2-of-the-queue")
    spoil(node, b"payload-number-3-that-is-kept")
    spoil(node, b"gone/1")
    node.start()
    c = connect(node, sleeping)
    check_payloads(c, [f"payload-number-{i}-of-the-queue".encode() for i in (0, 1, 3, 4)],
                   "messages that are not damaged")
    reader = visitor(node).subscribed("kept/#")
    check_equal(sorted(payloads_of(reader, 4)),
                [f"payload-number-{i}-that-is-kept".encode() for i in (0, 1, 2, 4)],
                "retained messages that are not damaged")
    publisher = visitor(node)
    publisher.publish("gone/1", "x", 1)
    publisher.publish("stays/1", "y", 1)
    check_payloads(c, [b"y"], "messages of the subscription that is not damaged")
    check_equal(status(node, "counters", "store_damaged_total"), 3, "damaged records")
    leave(c)
    kill_and_start(node)
    check_payloads(connect(node, sleeping), [], "messages after one more restart")


if __name__ == "__main__":
    main()
