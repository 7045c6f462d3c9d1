#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""PUBLISH: section 3.3 with its properties, aliases and retained messages."""

import time

import packets as mqtt
from client import unique
from packets import V5, V31, V311, Will
from suite import Skip, Suite, check, equal, surely

suite = Suite("publish")

BAD_TEXTS = [b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\xff", b"\xf4\x90\x80\x80", b"a\0b"]
ALL_BYTES = bytes(range(256))


# ---- flags and form ---------------------------------------------------------------------------


@suite.test(v5="3.3.1-4", v311="3.3.1-4")
def qos_3_is_refused(t):
    for flags in (6, 7, 14, 15):
        t.refused(mqtt.packet(mqtt.PUBLISH, flags, mqtt.data("a") + b"\0\1\0"), 0x81)


@suite.test(v5="3.3.1-2", v311="3.3.1-2")
def dup_does_not_travel_with_qos_0(t):
    # A client must not send it; a server may close or take it without DUP, as it pleases.
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.connected()
    c.send(mqtt.publish(t.version, topic, b"x", dup=True))
    c.send(mqtt.pingreq())
    if c.expect_one_of_or_close(mqtt.PINGRESP, 0) is not None:
        watcher.expect_publish(topic, b"x", dup=False)


@suite.test(v5="3.3.1-3", v311="3.3.1-3")
def dup_of_the_publisher_does_not_travel(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    c = t.connected()
    for qos in (1, 2):
        c.publish(topic, b"x", qos=qos, dup=True)
        watcher.take(topic, b"x", qos=qos, dup=False)


@suite.test(v5=["3.3.2-1", "4.13.1-1", "S4.13"], v311="3.3.2-1")
def a_publish_cut_anywhere_is_refused(t):
    # Cut inside the payload it is only a shorter message, so there is none.
    properties = {"payload_format": 1, "content_type": "text", "user_property": [("a", "b")]}
    for qos in (0, 1):
        body = mqtt.publish(t.version, "topic", b"", qos, 7, properties=properties)[2:]
        for size in range(len(body)):
            t.refused(mqtt.packet(mqtt.PUBLISH, qos << 1, body[:size]), 0x81, 0x82)


@suite.test(v5=["1.5.4-1", "1.5.4-2", "4.7.3-2", "3.3.2-1"],
            v311=["1.5.3-1", "1.5.3-2", "4.7.3-2", "3.3.2-1"])
def bad_utf8_in_a_topic_is_refused(t):
    for text in BAD_TEXTS:
        for topic in (text, b"a/" + text, text + b"/b"):
            t.refused(mqtt.publish(t.version, topic, b"x"), 0x81, 0x90)


@suite.test(v5=["3.3.2-2", "4.7.0-1"], v311=["3.3.2-2", "4.7.1-1"])
def wildcards_in_a_topic_are_refused(t):
    for topic in ("a/+", "#", "a#b", "+", "a/#", "+/a", "a+b", "/#"):
        for qos in (0, 1):
            t.refused(mqtt.publish(t.version, topic, b"x", qos, 1), 0x90, 0x81, 0x82)


@suite.test(v5="4.7.3-1", v311="4.7.3-1")
def an_empty_topic_is_refused(t):
    t.refused(mqtt.publish(t.version, "", b"x"), 0x82, 0x81, 0x90)


@suite.test(v5=["2.2.1-3"], v311="2.3.1-1")
def packet_identifier_0_is_refused(t):
    for qos in (1, 2):
        t.refused(mqtt.publish(t.version, "a", b"x", qos, 0), 0x81, 0x82)


@suite.test(v5=["2.2.1-2", "4.3.1-1"], v311=["2.3.1-5", "4.3.1-1"])
def qos_0_has_no_packet_identifier(t):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    c.publish(topic, b"payload")
    got = c.expect_publish(qos=0, dup=False)
    no_props = b"\0" if t.is_v5 else b""
    equal(got.body, mqtt.data(topic) + no_props + b"payload", "bytes")


@suite.test(v5="2.2.2-1")
def the_property_length_cannot_be_left_out(t):
    t.refused(mqtt.packet(mqtt.PUBLISH, 0, mqtt.data("a")), 0x81)


@suite.test(v5="3.3.4-1", v311="3.3.4-1", versions=(V31, V311, V5))
def each_qos_has_its_answer(t):
    topic = t.topic()
    c = t.connected()
    c.publish(topic, b"x", qos=0)
    c.expect_nothing()
    c.publish(topic, b"x", qos=1)
    c.publish(topic, b"x", qos=2)
    c.expect_nothing()


@suite.test(v5=["2.2.1-5", "4.3.2-4", "4.3.3-8"], v311=["2.3.1-6"])
def answers_repeat_the_packet_identifier(t):
    topic = t.topic()
    c = t.connected()
    for packet_id in (1, 255, 256, 65535):
        c.publish(topic, b"x", qos=1, packet_id=packet_id)
        c.publish(topic, b"x", qos=2, packet_id=packet_id)


@suite.test(v5=["S3.3.3", "4.5.0-1"], v311=["S3.3.3", "4.5.0-1"], versions=(V31, V311, V5))
def payloads_may_be_empty_and_of_any_bytes(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    for qos in (0, 1, 2):
        for payload in (b"", ALL_BYTES, b"\0" * 20000):
            publisher = t.connected()
            publisher.publish(topic, payload, qos=qos)
            c.take(topic, payload, qos=qos)


@suite.test(v5=["S2.1.4", "S3.2.2.3.6"], v311=["S4.8"])
def sizes_around_each_length_of_the_remaining_length(t):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    maximum = t.connected(version=V5).connack.properties.get("maximum_packet_size", 1 << 28)
    header = len(mqtt.publish(t.version, topic)) - 2
    for remaining in (127, 128, 16383, 16384, 2097151, 2097152):
        if remaining + 5 > maximum:
            continue
        payload = bytes(remaining - header)
        c.publish(topic, payload)
        c.expect_publish(topic, payload)


@suite.test(v5="S3.2.2.3.6")
def the_largest_packet_passes_and_a_larger_one_does_not(t):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    maximum = c.connack.properties.get("maximum_packet_size")
    if maximum is None or maximum > 16 << 20:
        raise Skip("no Maximum Packet Size, or a very large one")
    payload = bytes(maximum - len(mqtt.publish(t.version, topic, bytes(maximum))) + maximum)
    c.publish(topic, payload)
    c.expect_publish(topic, payload)
    c.send(mqtt.publish(t.version, topic, payload + b"x"))
    check(c.expect_close(0x95) == 0x95, "no DISCONNECT 0x95")


# ---- properties -------------------------------------------------------------------------------


def forwarded(t, properties, **options):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    t.connected().publish(topic, b"x", properties=properties, **options)
    return c.expect_publish(topic, b"x").properties


@suite.test(v5=["3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-20", "3.3.2-17"])
def properties_are_forwarded_unaltered(t):
    for properties in ({}, {"payload_format": 0}, {"payload_format": 1},
                       {"response_topic": "re/ply"}, {"correlation_data": ALL_BYTES},
                       {"correlation_data": b""}, {"correlation_data": bytes(3000)},
                       {"content_type": ""}, {"content_type": "text/plain \U0001f347"},
                       {"user_property": [("k", "v")]}):
        equal(forwarded(t, properties), properties, "properties")
    everything = {"payload_format": 1, "response_topic": "r", "correlation_data": b"c",
                  "content_type": "t", "user_property": [("a", "1"), ("b", "2")]}
    equal(forwarded(t, everything), everything, "properties")


@suite.test(v5=["3.3.2-18", "3.3.2-17", "3.1.3-10"])
def user_properties_keep_their_order(t):
    pairs = [(f"key{i % 7}", f"value {i}") for i in range(200)] + [("", "")]
    equal(forwarded(t, {"user_property": pairs})["user_property"], pairs, "live")
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True, properties={"user_property": pairs})
    got = t.connected().subscribed(topic).expect_publish(topic)
    equal(got.properties["user_property"], pairs, "retained")
    offline = t.persistent().subscribed(topic + "/q", qos=1)
    offline.disconnect()
    t.connected().publish(topic + "/q", b"x", qos=1, properties={"user_property": pairs})
    got = t.persistent(offline.client_id).take(topic + "/q")
    equal(got.properties["user_property"], pairs, "queued")
    watcher = t.connected().subscribed(topic + "/w")
    will = mqtt.Will(topic + "/w", b"w", properties={"user_property": pairs[:3]})
    t.connected(will=will).cut()
    equal(watcher.expect_publish().properties["user_property"], pairs[:3], "will")


@suite.test(v5=["1.5.7-1", "1.5.4-1", "3.3.2-13", "3.3.2-19"])
def bad_utf8_in_properties_is_refused(t):
    for text in BAD_TEXTS:
        for properties in ({"user_property": (text, "v")}, {"user_property": ("k", text)},
                           {"response_topic": text}, {"content_type": text}):
            t.refused(mqtt.publish(V5, "a", b"x", properties=properties), 0x81, 0x82, 0x90)


@suite.test(v5="3.3.2-14")
def wildcards_in_a_response_topic_are_refused(t):
    for topic in ("a/+", "#"):
        t.refused(mqtt.publish(V5, "a", properties={"response_topic": topic}), 0x82, 0x81, 0x90)


@suite.test(v5=["S3.3.2.3"])
def publish_properties_stand_once_with_their_values(t):
    for name, value in {"payload_format": 0, "message_expiry": 9, "content_type": "c",
                        "response_topic": "r", "correlation_data": b"d",
                        "topic_alias": 1}.items():
        t.refused(mqtt.publish(V5, "a", properties={name: [value, value]}), 0x82)
    t.refused(mqtt.publish(V5, "a", properties={"payload_format": 2}), 0x82, 0x81, 0x99)


@suite.test(v5="S3.3.2.3.2")
def a_payload_that_is_not_utf8_as_promised(t):
    # A server may check; one that does not has to forward it as it is.
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.connected()
    c.send(mqtt.publish(V5, topic, b"\xff\xfe", 1, 1, properties={"payload_format": 1}))
    puback = c.expect(mqtt.PUBACK, packet_id=1)
    check(puback.reason in (0, 0x10, 0x99), f"answered {puback}")
    if puback.reason == 0:
        watcher.expect_publish(topic, b"\xff\xfe")


@suite.test(v5="S3.3.2.3.2")
def we_check_whether_text_is_text(t):
    t.node()
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    c = t.connected()
    text, other = "\0gr\u00fc\u00df \U0001f347".encode(), b"12345678\xed\xa0\x80"
    claim = {"payload_format": 1}
    for qos, answer in ((1, mqtt.PUBACK), (2, mqtt.PUBREC)):
        c.send(mqtt.publish(V5, topic, other, qos, 7, properties=claim))
        equal(c.expect(answer, packet_id=7).reason, 0x99, "reason")
        c.publish(topic, text, qos=qos, properties=claim)  # a refused id is free again
        watcher.take(topic, text, qos=qos)
    c.publish(topic, other, properties={"payload_format": 0})
    watcher.expect_publish(topic, other)
    c.send(mqtt.publish(V5, topic, other, properties=claim))
    equal(c.expect_close(), 0x99, "reason at QoS 0")
    t.connect_refused(mqtt.connect(V5, unique(), will=Will(topic, other, properties=claim)),
                      0x99)
    t.connected(will=Will(topic, text, properties=claim)).cut()
    watcher.expect_publish(topic, text)


@suite.test(v5="S2.2.2.2")
def misplaced_and_unknown_properties_are_refused(t):
    t.refused(mqtt.publish(V5, "a", properties=mqtt.props(b"\x7f\0")), 0x81, 0x82)
    for name, value in {"session_expiry": 1, "will_delay": 1, "receive_maximum": 1,
                        "reason_string": "x", "maximum_qos": 1}.items():
        t.refused(mqtt.publish(V5, "a", properties={name: value}), 0x81, 0x82)


@suite.test(v5=["S2.2.2.1", "1.5.5-1"])
def property_lengths_must_fit(t):
    for properties in (b"\x7f", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\x02\x01",
                       mqtt.varint(4) + b"\x03\x00\x05a"):
        t.refused(mqtt.publish(V5, "a", properties=properties), 0x81, 0x82)


@suite.test(v5="3.3.4-6")
def a_subscription_identifier_of_a_client_is_refused(t):
    t.refused(mqtt.publish(V5, "a", properties={"subscription_id": 1}), 0x82, 0x81)


# ---- expiry -----------------------------------------------------------------------------------


@suite.test(v5="3.3.2-6")
def the_expiry_left_is_forwarded(t):
    topic = t.topic()
    begun = time.monotonic()
    left = forwarded(t, {"message_expiry": 100})["message_expiry"]
    check(99 - (time.monotonic() - begun) <= left <= 100, f"{left} s are left of a live one's 100")
    offline = t.persistent().subscribed(topic, qos=1)
    offline.disconnect()
    publisher = t.connected()
    begun = time.monotonic()
    publisher.publish(topic, b"x", qos=1, properties={"message_expiry": 100})
    publisher.publish(topic, b"r", qos=1, retain=True, properties={"message_expiry": 0xffffffff})
    time.sleep(2.1)
    c = t.persistent(offline.client_id)
    for payload, expiry in ((b"x", 100), (b"r", 0xffffffff)):
        left = c.take(payload=payload).properties["message_expiry"]
        check(expiry - 1 - (time.monotonic() - begun) <= left <= expiry - 2,
              f"{left} s are left of a queued one's {expiry}")


@suite.test(v5="3.3.2-5")
def expired_messages_are_not_sent(t):
    topic = t.topic()
    short = {"message_expiry": 1}
    offline = t.persistent().subscribed(topic, qos=1)
    offline.disconnect()
    full = t.connected(properties={"receive_maximum": 1}).subscribed(topic, qos=1)
    publisher = t.connected()
    publisher.publish(topic, b"first", qos=1)
    publisher.publish(topic, b"expires", qos=1, properties=short)
    publisher.publish(topic + "/r", b"expires", qos=1, retain=True, properties=short)
    publisher.publish(topic, b"last", qos=1)
    surely(1)
    c = t.persistent(offline.client_id)
    for watcher in (c, full):
        watcher.take(topic, b"first")
        watcher.take(topic, b"last")
        watcher.expect_nothing()
    t.connected().subscribed(topic + "/r").expect_nothing()


@suite.test(v5="3.3.2-5")
def an_expiry_of_0_is_over_at_once(t):
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True, properties={"message_expiry": 0})
    t.connected().subscribed(topic).expect_nothing()


# ---- who may not ----


@suite.test(v311="3.3.5-2", versions=(V31, V311))
def a_publish_that_is_not_allowed_is_acknowledged_and_goes_nowhere(t):
    # The server's own topics are not for clients.  Before v5 there is no way to refuse: the server
    # may close the connection, or say yes and do nothing.
    topic = "$SYS/" + t.topic()
    watcher = t.connected().subscribed("$SYS/#", qos=2)
    for qos, answer in ((0, None), (1, mqtt.PUBACK), (2, mqtt.PUBREC)):
        c = t.connected()
        c.send(mqtt.publish(t.version, topic, b"x", qos, qos, retain=True))
        if answer and c.expect_one_of_or_close(answer, 0) is None:
            continue
        if qos == 2:
            c.ack(mqtt.PUBREL, qos)
            c.expect(mqtt.PUBCOMP, packet_id=qos)
        if qos:
            c.publish(t.topic(), b"y", qos=qos)  # life goes on
    late = t.connected().subscribed(topic, qos=2)
    late.expect_nothing()
    while (packet := watcher.receive(0.15)) is not None:
        check(packet.kind == mqtt.PUBLISH and packet.topic != topic, f"got {packet}")


# ---- topic aliases ----------------------------------------------------------------------------


@suite.test(v5=["3.3.2-12", "S3.3.2.3.4"])
def every_alias_up_to_the_maximum_works(t):
    c = t.connected()
    maximum = c.connack.properties.get("topic_alias_maximum", 0)
    if not maximum:
        raise Skip("no Topic Alias Maximum")
    topic = t.topic()
    watcher = t.connected().subscribed(topic + "/#", qos=2)
    aliases = sorted({1, 2, maximum // 2 + 1, maximum})
    for round_ in range(2):  # the second round gives each another topic
        for alias in aliases:
            c.publish(f"{topic}/{alias}/{round_}", b"", properties={"topic_alias": alias})
        for qos in (0, 1, 2):
            for alias in aliases:
                c.publish("", b"x", qos=qos, properties={"topic_alias": alias})
        for alias in aliases:
            watcher.expect_publish(f"{topic}/{alias}/{round_}", b"")
        for qos in (0, 1, 2):
            for alias in aliases:
                got = watcher.take(f"{topic}/{alias}/{round_}", b"x", qos=qos)
                check("topic_alias" not in got.properties, "the publisher's alias was forwarded")


@suite.test(v5=["3.2.2-17", "3.3.2-8", "3.3.2-9", "3.2.2-18"])
def aliases_outside_the_maximum_are_refused(t):
    maximum = t.connected().connack.properties.get("topic_alias_maximum", 0)
    for alias in {0, maximum + 1, 65535} - ({65535} if maximum == 65535 else set()):
        t.refused(mqtt.publish(V5, "a", properties={"topic_alias": alias}), 0x94, 0x82)


@suite.test(v5="S3.3.2.3.4")
def an_alias_nobody_set_is_refused(t):
    t.refused(mqtt.publish(V5, "", properties={"topic_alias": 1}), 0x82, 0x94)


@suite.test(v5="3.3.2-7")
def aliases_end_with_the_connection(t):
    topic = t.topic()
    c = t.persistent()
    c.publish(topic, b"x", properties={"topic_alias": 1})
    c.ping()
    c = t.persistent(c.client_id)
    c.send(mqtt.publish(V5, "", properties={"topic_alias": 1}))
    c.expect_close(0x82, 0x94)


@suite.test(v5=["3.1.2-26", "3.1.2-27", "3.3.2-11", "3.3.2-8"])
def aliases_of_the_server_are_within_ours(t):
    topic = t.topic()
    for maximum in (None, 0, 2):
        c = t.connected(properties={} if maximum is None else {"topic_alias_maximum": maximum})
        c.subscribed(topic + "/+")
        publisher = t.connected()
        known = {}
        for i in range(12):
            publisher.publish(f"{topic}/{i % 4}", str(i))
            got = c.expect_publish(payload=str(i))
            alias = got.properties.get("topic_alias")
            if alias is not None:
                check(alias <= (maximum or 0), f"alias {alias} of {maximum}")
                if got.topic:
                    known[alias] = got.topic
            equal(got.topic or known.get(alias), f"{topic}/{i % 4}", "topic")


@suite.test(v5=["S3.3.2.3.4", "3.3.2-7"])
def we_say_a_topic_once_to_whom_takes_aliases(t):
    t.node()
    topic = t.topic("with", "several", "levels")
    publisher = t.connected()
    wanted = {"topic_alias_maximum": 5}
    c = t.persistent(properties=wanted).subscribed(topic, qos=2)
    for i in range(9):
        publisher.publish(topic, str(i), qos=i % 3)
        got = c.expect_publish(payload=str(i), qos=i % 3)  # not acknowledged
        equal(got.topic, topic if i == 0 else "", "topic")
        check(got.properties["topic_alias"] <= 5, "alias")
    # On a new connection the alias means nothing until it is introduced again.
    c = t.persistent(c.client_id, properties=wanted)
    for i in (1, 2, 4, 5, 7, 8):
        got = c.expect_publish(payload=str(i), dup=True)
        equal(got.topic, topic if i == 1 else "", "topic")
    c = t.persistent(c.client_id)
    got = c.expect_publish(topic, "1", dup=True)
    check("topic_alias" not in got.properties, "an alias for a client that takes none any more")


# ---- retained messages ------------------------------------------------------------------------


@suite.test(v5=["3.3.1-5", "S4.1"], v311=["3.3.1-5", "3.3.1-6", "3.3.1-8", "3.1.2-7"],
            versions=(V31, V311, V5))
def a_retained_message_waits_for_subscribers(t):
    topic = t.topic("a")
    publisher = t.connected()
    for payload in (b"1", b"2", b"3"):
        publisher.publish(topic, payload, qos=1, retain=True)
    publisher.disconnect()
    for text in (topic, topic[:-1] + "+", topic[:-2] + "/#"):
        c = t.connected().subscribed(text, qos=1)
        c.take(topic, b"3", retain=True, qos=1)
        c.expect_nothing()


@suite.test(v311="3.3.1-7")
def a_retained_qos_0_replaces_the_one_before(t):
    topic = t.topic()
    c = t.connected()
    c.publish(topic, b"old", qos=1, retain=True)
    c.publish(topic, b"new", qos=0, retain=True)
    c.ping()
    c = t.connected()
    c.subscribed(topic)
    c.expect_publish(topic, b"new", retain=True)


@suite.test(v5=["3.3.1-6", "3.3.1-7"], v311=["3.3.1-10", "3.3.1-11"])
def an_empty_retained_message_removes(t):
    topic = t.topic()
    c = t.connected()
    c.publish(topic, b"x", qos=1, retain=True)
    live = t.connected().subscribed(topic)
    live.expect_publish(topic, b"x", retain=True)
    c.publish(topic, b"", qos=1, retain=True)
    live.expect_publish(topic, b"", retain=False)
    t.connected().subscribed(topic).expect_nothing()
    # Where there is none, with and without topics below.
    c.publish(topic + "/child", b"y", qos=1, retain=True)
    c.publish(topic, b"", qos=1, retain=True)
    t.connected().subscribed(topic + "/#").expect_publish(topic + "/child", b"y")


@suite.test(v5="3.3.1-8", v311="3.3.1-12")
def plain_messages_leave_the_retained_one(t):
    topic = t.topic()
    c = t.connected()
    c.publish(topic, b"x", qos=1, retain=True)
    c.publish(topic, b"y", qos=1)
    c.publish(topic, b"", qos=1)
    late = t.connected().subscribed(topic)
    late.expect_publish(topic, b"x", retain=True)
    late.expect_nothing()
    c.publish(topic + "/2", b"y", qos=1)
    t.connected().subscribed(topic + "/2").expect_nothing()


@suite.test(v5="3.3.1-12", v311="3.3.1-9")
def live_messages_have_no_retain(t):
    topic = t.topic()
    c = t.connected().subscribed(topic)
    t.connected().publish(topic, b"x", qos=1, retain=True)
    c.expect_publish(topic, b"x", retain=False)


@suite.test(v5=["3.3.1-13", "S3.3.1.3"])
def retain_as_published(t):
    topic = t.topic()
    as_published = 0x08 | 1
    c = t.connected().subscribed(topic, options=as_published)
    offline = t.persistent().subscribed(topic, options=as_published)
    offline.disconnect()
    publisher = t.connected()
    publisher.publish(topic, b"r", qos=1, retain=True)
    publisher.publish(topic, b"p", qos=1)
    for watcher in (c, t.persistent(offline.client_id)):
        watcher.take(topic, b"r", retain=True)
        watcher.take(topic, b"p", retain=False)
    for options in (0, 0x08):
        t.connected().subscribed(topic, options=options).expect_publish(topic, b"r", retain=True)


@suite.test(v5=["3.3.1-9", "3.8.4-4"], v311="3.8.4-3")
def retained_messages_come_with_each_subscribe(t):
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True)
    c = t.connected()
    for _ in range(2):
        for text in (topic, topic + "/#"):
            c.subscribed(text).expect_publish(topic, b"x", retain=True)


@suite.test(v5="3.3.1-10")
def retain_handling_1_sends_for_a_new_subscription(t):
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True)
    c = t.persistent().subscribed(topic, options=0x10)
    c.expect_publish(topic, b"x", retain=True)
    c.subscribed(topic, options=0x10).expect_nothing()
    c.disconnect()
    c = t.persistent(c.client_id).subscribed(topic, options=0x11)
    c.expect_nothing()
    c.unsubscribe(topic)
    c.subscribed(topic, options=0x10).expect_publish(topic, b"x", retain=True)


@suite.test(v5="3.3.1-11")
def retain_handling_2_never_sends(t):
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True)
    c = t.connected().subscribed(topic, options=0x20)
    c.expect_nothing()
    c.publish(topic, b"y")
    c.expect_publish(topic, b"y")


@suite.test(v5="S3.8.4", v311="S3.8.4")
def each_filter_of_a_subscribe_brings_its_retained_messages(t):
    topic = t.topic()
    c = t.connected()
    c.publish(topic + "/a", b"a", qos=1, retain=True)
    c.publish(topic + "/b", b"b", qos=1, retain=True)
    c.subscribed(topic + "/a", topic + "/b")
    equal({c.expect_publish(retain=True).payload for _ in range(2)}, {b"a", b"b"}, "payloads")


@suite.test(v5="3.8.4-8", v311="3.8.4-6")
def the_delivered_qos_is_the_smaller_one(t):
    topic = t.topic()
    publisher = t.connected()
    c, offline = t.connected(), t.persistent()
    for granted in (0, 1, 2):
        c.subscribed(f"{topic}/{granted}/+", qos=granted)
        offline.subscribed(f"{topic}/{granted}/+", qos=granted)
    offline.disconnect()
    late = t.connected()
    for granted in (0, 1, 2):
        for sent in (0, 1, 2):
            publisher.publish(f"{topic}/{granted}/{sent}", b"x", qos=sent, retain=True)
            if sent == 0:
                publisher.ping()
            c.take(f"{topic}/{granted}/{sent}", qos=min(granted, sent), retain=False)
            late.subscribed(f"{topic}/{granted}/{sent}", qos=granted)
            late.take(f"{topic}/{granted}/{sent}", qos=min(granted, sent), retain=True)
    offline = t.persistent(offline.client_id)
    for granted in (1, 2):
        for sent in (1, 2):
            got = offline.take(qos=min(granted, sent))
            while got.topic != f"{topic}/{granted}/{sent}":  # QoS 0 may be kept too
                got = offline.take()


@suite.test(v5=["3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3", "3.6.2-2", "3.6.2-3", "3.7.2-2",
                "3.7.2-3", "3.9.2-1", "3.9.2-2", "3.11.2-1", "3.11.2-2", "3.14.2-3", "3.14.2-4",
                "3.1.2-29"])
def answers_are_small_and_terse_where_asked(t):
    c = t.connected(properties={"maximum_packet_size": 40, "request_problem_information": 0})
    topic = t.topic()
    c.publish(topic, b"", qos=1)
    c.publish(topic, b"", qos=2)
    c.subscribe(topic)
    c.unsubscribe("not/there")
    c.ack(mqtt.PUBREL, 99)
    c.expect(mqtt.PUBCOMP, reason=0x92)
    c.ack(mqtt.PUBREC, 99)
    c.expect(mqtt.PUBREL, reason=0x92)
    c.send(mqtt.packet(mqtt.PUBLISH, 6, b""))
    c.expect_close(0x81)
    for p in c.got:
        check(len(p.raw) <= 40, f"{p} has {len(p.raw)} bytes")
        if p.kind not in (mqtt.PUBLISH, mqtt.CONNACK, mqtt.DISCONNECT):
            equal(p.properties, {}, "properties")


if __name__ == "__main__":
    suite.main()
