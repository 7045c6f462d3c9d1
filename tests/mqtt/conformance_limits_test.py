#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is refused because the operator says so, on a node that says so."""

import packets as mqtt
from client import unique
from packets import V5, V31, V311, Will
from suite import Suite, check, equal, patient

suite = Suite("limits", {"mqtt.client_id_size_max": 23, "mqtt.retain_available": "false",
                         "mqtt.keepalive_max": "2s", "mqtt.receive_max": 10,
                         "mqtt.subscriptions_max": 5, "mqtt.topic_levels_max": 4,
                         "mqtt.topic_size_max": 100, "mqtt.topic_alias_max": 0,
                         "mqtt.packet_size_max": "1KiB", "mqtt.session_expiry_max": "60s"})


@suite.test(v5="3.1.3-8", v311=["3.1.3-9", "3.2.2-5"])
def a_client_id_that_is_too_long(t):
    t.connected("x" * 23)
    told = t.connect_refused(mqtt.connect(t.version, "x" * 24))
    equal(told, 0x85 if t.is_v5 else 2, "reason")


@suite.test(v5="3.2.2-13")
def retained_messages_where_there_are_none(t):
    c = t.connected()
    equal(c.connack.properties.get("retain_available"), 0, "Retain Available")
    equal(t.connect_refused(mqtt.connect(V5, unique(), will=Will("a", retain=True))), 0x9a, "will")
    c.send(mqtt.publish(V5, "a", b"x", 1, 1, retain=True))
    equal(c.expect_close(), 0x9a, "publish")


@suite.test(v5="3.2.2-22")
def the_server_may_shorten_the_keep_alive(t):
    for wanted in (0, 60):
        c = t.connected(keep_alive=wanted)
        equal(c.connack.properties.get("server_keep_alive"), 2, "Server Keep Alive")
        c.expect_close(0x8d, timeout_s=patient(10))
    check("server_keep_alive" not in t.connected(keep_alive=1).connack.properties, "1 s is fine")


@suite.test(v5="3.2.2-18")
def no_alias_without_a_maximum(t):
    check("topic_alias_maximum" not in t.connected().connack.properties, "Topic Alias Maximum")
    t.refused(mqtt.publish(V5, "a", properties={"topic_alias": 1}), 0x94)


@suite.test(v5=["S3.2.2.3.3", "3.3.4-7"])
def a_small_receive_maximum(t):
    c = t.connected()
    equal(c.connack.properties["receive_maximum"], 10, "Receive Maximum")
    for packet_id in range(1, 11):
        c.send(mqtt.publish(V5, "a", b"x", 2, packet_id))
    c.publish("a", b"x", qos=0)
    for packet_id in range(1, 11):
        c.expect(mqtt.PUBREC, packet_id=packet_id)
    c.send(mqtt.publish(V5, "a", b"x", 1, 11))
    equal(c.expect_close(), 0x93, "reason")


@suite.test(versions=(V31, V311))
def before_v5_who_sends_too_much_is_slowed_only(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=1)
    c = t.connected()
    c.send(b"".join(mqtt.publish(t.version, topic, b"x", 1, i + 1) for i in range(200)))
    for i in range(200):
        watcher.take(topic)
        c.expect(mqtt.PUBACK, packet_id=i + 1)


@suite.test(v5="3.8.4-7", v311="3.8.4-5")
def more_subscriptions_than_allowed(t):
    base = t.topic()
    c = t.connected()
    suback = c.subscribe(*[f"{base}/{i}" for i in range(7)], qos=1)
    equal(suback.codes, [1] * 5 + [0x97 if t.is_v5 else 0x80] * 2, "codes")
    equal(c.subscribe(f"{base}/3", qos=2).codes, [2], "replacing one is no new one")
    c.unsubscribe(f"{base}/3")
    equal(c.subscribe(f"{base}/new").codes, [0], "there is room again")


@suite.test(v5=["4.7.3-3", "S4.7.3"], v311="S4.7.3")
def topics_that_are_too_deep_or_too_long(t):
    c = t.connected()
    refused = 0x8f if t.is_v5 else 0x80
    for text, code in (("a/b/c/d", 0), ("a/b/c/d/e", refused), ("x" * 100, 0), ("x" * 101, refused),
                       ("$share/g/a/b/c/d", 0)):
        equal(c.subscribe(text).codes, [code], text)
        c.unsubscribe(text)
    for topic in ("a/b/c/d/e", "x" * 101):
        # Before v5 there is no refusing: it is acknowledged and goes nowhere.
        for qos in (1, 2):
            equal(c.publish(topic, b"x", qos=qos).reason, 0x90 if t.is_v5 else 0, "reason")


@suite.test(v5="S3.1.2.11.2")
def the_server_may_shorten_the_session_expiry(t):
    for wanted in (600, 0xffffffff):
        c = t.connected(properties={"session_expiry": wanted})
        equal(c.connack.properties.get("session_expiry"), 60, "Session Expiry Interval")
    check("session_expiry" not in t.persistent(expiry=60).connack.properties, "60 s are fine")


if __name__ == "__main__":
    suite.main()
