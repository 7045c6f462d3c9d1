#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SUBSCRIBE, UNSUBSCRIBE, shared subscriptions and subscription identifiers: 3.8 to 3.11, 4.8."""

import time

import packets as mqtt
from packets import V5, V31, V311
from suite import Suite, check, equal, gathered, raw, surely

suite = Suite("subscribe")

BAD_TEXTS = [b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\xff", b"\xf4\x90\x80\x80", b"a\0b"]
WRONG_FLAGS = (0, 1, 3, 4, 6, 10, 15)


# ---- form -------------------------------------------------------------------------------------


@suite.test(v5=["3.8.1-1", "3.10.1-1", "2.1.3-1"], v311=["3.8.1-1", "3.10.1-1", "2.2.2-2"])
def wrong_flags_are_refused(t):
    for flags in WRONG_FLAGS:
        t.refused(mqtt.subscribe(t.version, 1, [("a", 0)], flags=flags), 0x81)
        t.refused(mqtt.unsubscribe(t.version, 1, ["a"], flags=flags), 0x81)


@suite.test(v5=["2.2.1-3"], v311="2.3.1-1")
def packet_identifier_0_is_refused(t):
    t.refused(mqtt.subscribe(t.version, 0, [("a", 0)]), 0x81, 0x82)
    t.refused(mqtt.unsubscribe(t.version, 0, ["a"]), 0x81, 0x82)


@suite.test(v5=["3.8.3-2", "3.10.3-2"], v311=["3.8.3-3", "3.10.3-2"])
def at_least_one_filter(t):
    t.refused(mqtt.subscribe(t.version, 1, []), 0x82, 0x81)
    t.refused(mqtt.unsubscribe(t.version, 1, []), 0x82, 0x81)


@suite.test(v5=["3.8.3-1", "3.10.3-1", "4.7.3-2"], v311=["3.8.3-1", "3.10.3-1", "4.7.3-2"])
def bad_utf8_in_a_filter_is_refused(t):
    for text in BAD_TEXTS:
        t.refused(mqtt.subscribe(t.version, 1, [("a", 0), (text, 0)]), 0x81, 0x8f)
        t.refused(mqtt.unsubscribe(t.version, 1, ["a", text]), 0x81, 0x8f)


@suite.test(v5=["3.8.3-5", "S3.8.3.1"], v311="3.8.3-4")
def wrong_options_are_refused(t):
    wrong = [0x03, 0x40, 0x80, 0xc0, 0x30, 0x31, 0x33] if t.is_v5 else \
        [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff]
    for options in wrong:
        t.refused(mqtt.subscribe(t.version, 1, [("a", options)]), 0x81, 0x82)
        t.refused(mqtt.subscribe(t.version, 1, [("a", 0), ("b", options)]), 0x81, 0x82)


@suite.test(v5=["4.13.1-1", "S4.13"], v311="4.8.0-1")
def packets_cut_anywhere_are_refused(t):
    props = {"user_property": [("a", "b")]}
    for kind, whole in ((mqtt.SUBSCRIBE, mqtt.subscribe(t.version, 7, [("abc", 1)], props)),
                        (mqtt.UNSUBSCRIBE, mqtt.unsubscribe(t.version, 7, ["abc"], props))):
        body = whole[2:]
        for size in range(len(body)):
            t.refused(mqtt.packet(kind, 2, body[:size]), 0x81, 0x82)


@suite.test(v5=["3.8.3-4"])
def no_local_with_a_group_is_refused(t):
    t.refused(mqtt.subscribe(V5, 1, [("$share/g/a", 0x04)]), 0x82)
    t.refused(mqtt.subscribe(V5, 1, [("a", 0), ("$share/g/a", 0x05)]), 0x82)


@suite.test(v5=["S3.8.2.1.2", "S2.2.2.2", "S2.2.2.1"])
def wrong_properties_are_refused(t):
    raw = mqtt.props
    for properties in ({"subscription_id": 0}, {"subscription_id": [1, 1]},
                       raw(b"\x0b\xff\xff\xff\xff\x01"), raw(b"\x7f\0"), {"topic_alias": 1},
                       {"reason_string": "x"}, b"\x50", b"\xff\xff\xff\xff\x7f"):
        t.refused(mqtt.subscribe(V5, 1, [("a", 0)], properties), 0x81, 0x82)
        t.refused(mqtt.unsubscribe(V5, 1, ["a"], properties), 0x81, 0x82)
    t.refused(mqtt.unsubscribe(V5, 1, ["a"], {"subscription_id": 1}), 0x81, 0x82)


@suite.test(v5="S3.8.2.1")
def user_properties_may_come_along(t):
    many = {"user_property": [("k", str(i)) for i in range(20)]}
    c = t.connected()
    c.subscribe("a", properties=many)
    c.unsubscribe("a", properties=many)


# ---- answers ----------------------------------------------------------------------------------


@suite.test(v5=["3.8.4-1", "3.8.4-2", "2.2.1-6", "3.10.4-4", "3.10.4-5"],
            v311=["3.8.4-1", "3.8.4-2", "2.3.1-7", "3.10.4-4", "3.10.4-5"],
            versions=(V31, V311, V5))
def answers_repeat_the_packet_identifier(t):
    c = t.connected()
    for packet_id in (1, 255, 256, 65535):
        c.send(mqtt.subscribe(t.version, packet_id, [(t.topic(), 0)]))
        c.expect(mqtt.SUBACK, packet_id=packet_id)
        c.send(mqtt.unsubscribe(t.version, packet_id, ["never/subscribed"]))
        unsuback = c.expect(mqtt.UNSUBACK, packet_id=packet_id)
        if t.is_v5:
            equal(unsuback.codes, [0x11], "codes")


@suite.test(v5=["3.8.4-6", "3.8.4-7", "3.9.3-1", "3.9.3-2"],
            v311=["3.8.4-5", "3.9.3-1", "3.9.3-2"])
def codes_stand_in_the_order_of_the_filters(t):
    c = t.connected()
    topic = t.topic()
    asked = [2, 0, 1, 1, 0, 2]
    suback = c.subscribe(*[(f"{topic}/{i}", qos) for i, qos in enumerate(asked)])
    equal(suback.codes, asked, "codes")
    # A filter that is none may also end the connection; ours only refuses it.
    t.node()
    bad = 0x8f if t.is_v5 else 0x80
    suback = c.subscribe((topic, 1), ("a#b", 1), (topic + "/x", 2))
    equal(suback.codes, [1, bad, 2], "codes")


@suite.test(v5=["3.11.3-1", "3.11.3-2", "3.10.4-6"])
def unsuback_codes_stand_in_the_order_of_the_filters(t):
    topic = t.topic()
    c = t.connected().subscribed(topic + "/a", topic + "/b")
    unsuback = c.unsubscribe(topic + "/a", topic + "/x", topic + "/b", topic + "/a")
    equal(unsuback.codes, [0, 0x11, 0, 0x11], "codes")


@suite.test(v5="3.8.4-5", v311="3.8.4-4")
def many_filters_in_one_subscribe(t):
    topic = t.topic()
    c = t.connected().subscribed(*[f"{topic}/{i}" for i in range(300)], qos=1)
    for i in (0, 150, 299):
        c.publish(f"{topic}/{i}", b"x")
        c.expect_publish(f"{topic}/{i}")
    c.subscribed((topic, 0), (topic, 2), (topic, 1))
    publisher = t.connected()
    publisher.publish(topic, b"y", qos=2)
    c.take(topic, b"y", qos=1)  # the last of the three counts, and there is one subscription
    c.expect_nothing()


@suite.test(v5="3.10.4-6", v311="3.10.4-6")
def many_filters_in_one_unsubscribe(t):
    topic = t.topic()
    c = t.connected().subscribed(topic + "/a", topic + "/b", topic + "/c")
    c.unsubscribe(topic + "/a", topic + "/x", topic + "/c")
    publisher = t.connected()
    for level in "abc":
        publisher.publish(f"{topic}/{level}", b"x", qos=1)
    c.expect_publish(topic + "/b")
    c.expect_nothing()


# ---- meaning ----------------------------------------------------------------------------------


@suite.test(v5="3.8.4-3", v311="3.8.4-3")
def an_identical_filter_replaces_the_subscription(t):
    topic = t.topic()
    publisher = t.connected()
    for text in (topic, topic + "/#"):
        c = t.connected().subscribed(text, qos=0).subscribed(text, qos=2).subscribed(text, qos=1)
        publisher.publish(topic, b"x", qos=2)
        c.take(topic, b"x", qos=1)
        c.expect_nothing()


@suite.test(v5="3.8.4-4", v311="3.8.4-3")
def replacing_loses_nothing(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=1)
    publisher = t.connected()
    for i in range(60):
        publisher.send(mqtt.publish(t.version, topic, str(i), 1, i + 1))
        c.send(mqtt.subscribe(t.version, i + 1, [(topic, 1)]))
    for _ in range(60):
        publisher.expect(mqtt.PUBACK)
    got = []
    while len(got) < 60:
        packet = c.receive()
        check(packet is not None, f"only {len(got)} messages")
        if packet.kind == mqtt.PUBLISH:
            got.append(int(packet.payload))
            c.acknowledge(packet)
    equal(got, list(range(60)), "messages")


@suite.test(v5=["3.10.4-1"], v311="3.10.4-1")
def unsubscribe_compares_characters(t):
    topic = t.topic()
    publisher = t.connected()
    for kept, other in ((topic + "/+", topic + "/a"), (topic + "/a", topic + "/A"),
                        (topic + "/a", topic + "/a/"), (topic + "/a", topic + "/+"),
                        (topic + "/#", topic + "/a")):
        c = t.connected().subscribed(kept)
        c.unsubscribe(other)
        publisher.publish(topic + "/a", b"x")
        c.expect_publish(topic + "/a")
        c.unsubscribe(kept)
        publisher.publish(topic + "/a", b"y", qos=1)
        c.expect_nothing()


@suite.test(v5="3.10.4-2", v311="3.10.4-2")
def retained_messages_end_with_the_subscription(t):
    base = t.topic()
    publisher = t.connected()
    for start in range(0, 4000, 200):
        for i in range(start, start + 200):
            publisher.send(mqtt.publish(t.version, f"{base}/{i}", "x", 1, i + 1, retain=True))
        for _ in range(200):
            publisher.expect(mqtt.PUBACK)
    c = t.connected()
    c.send(mqtt.subscribe(t.version, 1, [(f"{base}/+", 0)]))
    c.send(mqtt.unsubscribe(t.version, 2, [f"{base}/+"]))
    c.expect_among_messages(mqtt.SUBACK, packet_id=1)
    while (packet := c.receive()).kind == mqtt.PUBLISH:
        pass
    equal(packet.kind, mqtt.UNSUBACK, "the answer after SUBACK")
    c.expect_nothing()


@suite.test(v5="3.10.4-2", v311="3.10.4-2")
def nothing_new_after_unsubscribe(t):
    topic = t.topic()
    for text in (topic, topic + "/+", "$share/g/" + topic):
        c = t.connected().subscribed(text, qos=1)
        c.unsubscribe(text)
        publisher = t.connected()
        publisher.publish(topic, b"x", qos=1)
        publisher.publish(topic + "/a", b"x", qos=1)
        c.expect_nothing()


@suite.test(v5="3.10.4-3", v311="3.10.4-3")
def open_exchanges_are_finished_after_unsubscribe(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    t.connected().publish(topic, b"x", qos=2)
    got = c.expect_publish(topic, b"x", qos=2)
    c.unsubscribe(topic)
    c.acknowledge(got)


@suite.test(v5="3.8.3-3")
def no_local(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, options=0x04 | 1)
    c.publish(topic, b"own", qos=1)
    c.expect_nothing()
    t.connected().publish(topic, b"foreign", qos=1)
    c.take(topic, b"foreign")
    c.disconnect()
    c = t.persistent(c.client_id)
    c.publish(topic, b"own", qos=1)
    c.expect_nothing()
    c.subscribed(topic, qos=1)
    c.publish(topic, b"own", qos=0)
    c.expect_publish(topic, b"own")


@suite.test(v5="3.3.4-2", v311="3.3.5-1")
def overlapping_subscriptions_respect_the_highest_qos(t):
    topic = t.topic()
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        c = t.connected()
        for text, qos in zip((topic + "/a", topic + "/+", topic + "/#"), order):
            c.subscribed(text, qos=qos)
        t.connected().publish(topic + "/a", b"x", qos=2)
        copies = [c.take(topic + "/a", b"x")]
        while (more := c.receive(0.2)) is not None:  # one for each subscription is allowed
            copies.append(c.acknowledge(more))
        equal(max(p.qos for p in copies), 2, "the highest QoS")
        check(len(copies) in (1, 3), f"{len(copies)} copies")


@suite.test(v5="4.5.0-1", v311="4.5.0-1")
def everybody_gets_a_copy(t):
    topic = t.topic()
    everybody = [t.connected().subscribed(topic, qos=i % 3) for i in range(20)]
    c = t.connected().subscribed(topic, qos=2)
    t.connected().publish(topic, b"x", qos=2)
    for i, one in enumerate(everybody):
        one.take(topic, b"x", qos=i % 3)
    c.take(topic, b"x", qos=2)
    c.publish(topic, b"own", qos=0)
    c.expect_publish(topic, b"own")


# ---- subscription identifiers -----------------------------------------------------------------


def ids_of(packet):
    return sorted(packet.properties.get("subscription_id", []))


@suite.test(v5="3.3.4-3")
def subscription_identifiers_come_with_the_message(t):
    topic = t.topic()
    publisher = t.connected()
    for number in (1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455):
        c = t.connected().subscribed(topic, properties={"subscription_id": number})
        publisher.publish(topic, b"x", qos=1)
        equal(ids_of(c.expect_publish(topic)), [number], "live")
    publisher.publish(topic, b"r", qos=1, retain=True)
    c = t.connected().subscribed(topic, properties={"subscription_id": 9})
    equal(ids_of(c.expect_publish(topic, retain=True)), [9], "retained")
    c = t.connected().subscribed("$share/g/" + topic, properties={"subscription_id": 8})
    publisher.publish(topic, b"s", qos=1)
    equal(ids_of(c.expect_publish(topic)), [8], "shared")
    c = t.persistent().subscribed(topic + "/q", qos=1, properties={"subscription_id": 7})
    c.disconnect()
    publisher.publish(topic + "/q", b"q", qos=1)
    equal(ids_of(t.persistent(c.client_id).take(topic + "/q")), [7], "queued")


@suite.test(v5=["3.3.4-4", "3.3.4-5"])
def overlapping_subscriptions_bring_all_identifiers(t):
    topic = t.topic()
    filters = [topic + text for text in ("/a/b", "/+/b", "/#", "/a/#", "/a/+", "/+/+", "/+/#",
                                         "/a/b/#", "/a/+/#", "/+/+/#", "/+/b/#")]
    c = t.connected()
    offline = t.persistent()
    for number, text in enumerate(filters, 1):
        c.subscribed(text, properties={"subscription_id": number})
        offline.subscribed(text, qos=1, properties={"subscription_id": number})
    offline.disconnect()
    t.connected().publish(topic + "/a/b", b"x", qos=1)
    for watcher in (c, t.persistent(offline.client_id)):
        got = []
        while len(got) < len(filters):
            packet = watcher.take(topic + "/a/b", b"x")
            check(ids_of(packet), "no identifier")
            got += ids_of(packet)
        equal(sorted(got), list(range(1, len(filters) + 1)), "identifiers")
        watcher.expect_nothing()


@suite.test(v5="S3.8.4")
def a_new_subscription_replaces_the_identifier(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, properties={"subscription_id": 1})
    c.subscribed(topic, properties={"subscription_id": 2})
    c.publish(topic, b"x")
    equal(ids_of(c.expect_publish(topic)), [2], "after replacing")
    c.subscribed(topic)
    c.publish(topic, b"x")
    equal(ids_of(c.expect_publish(topic)), [], "after replacing with none")


# ---- shared subscriptions ---------------------------------------------------------------------


@suite.test(v5=["4.8.2-1", "4.8.2-2"])
def share_names_have_their_form(t):
    for text in ("$share//t", "$share/a+b/t", "$share/#/t", "$share/+/x", "$share/g", "$share/g/",
                 "$share/"):
        code = t.code_for(text)
        check(code is None or code >= 0x80, f"{text} was granted")
    t.connected().subscribed("$sharex", "$sharex/a/b")


@suite.test(v5="S4.8.2", versions=(V311, V5))
def a_group_gets_one_copy(t):
    topic = t.topic()
    members = [t.connected().subscribed("$share/one/" + topic, qos=1) for _ in range(3)]
    second = t.connected().subscribed("$share/two/" + topic, qos=1)
    plain = t.connected().subscribed(topic, qos=1)
    publisher = t.connected()
    sent = {str(i).encode() for i in range(30)}
    for i in range(30):
        publisher.publish(topic, str(i), qos=1)
    for everything in (second, plain):
        equal({everything.take(topic).payload for _ in range(30)}, sent, "messages")
    shares = gathered(members, 30)
    equal(sorted(packet.payload for packet in sum(shares, [])), sorted(sent),
          "the group's messages, each once")
    check(all(shares), "a member got nothing")


@suite.test(v5="S4.8.2")
def a_group_gets_no_retained_messages(t):
    topic = t.topic()
    t.connected().publish(topic, b"x", qos=1, retain=True)
    t.connected().subscribed("$share/g/" + topic).expect_nothing()


@suite.test(v5="4.8.2-3")
def the_granted_qos_of_a_member_is_respected(t):
    topic = t.topic()
    members = [t.connected().subscribed("$share/g/" + topic, qos=qos) for qos in (0, 1)]
    publisher = t.connected()
    for _ in range(20):
        publisher.publish(topic, b"x", qos=2)
    for qos, share in enumerate(gathered(members, 20)):
        check({packet.qos for packet in share} <= {qos}, f"QoS of {share}")


@suite.test(v5="4.8.2-4")
def an_open_qos_2_delivery_stays_with_its_member(t):
    topic = t.topic()
    a = t.persistent().subscribed("$share/g/" + topic, qos=2)
    t.connected().publish(topic, b"x", qos=2)
    packet_id = a.expect_publish(topic, b"x").packet_id
    a.ack(mqtt.PUBREC, packet_id)
    a.expect(mqtt.PUBREL, packet_id=packet_id)
    a.cut()
    b = t.connected().subscribed("$share/g/" + topic, qos=2)
    b.expect_nothing()
    a = t.persistent(a.client_id)
    a.expect(mqtt.PUBREL, packet_id=packet_id)
    a.ack(mqtt.PUBCOMP, packet_id)
    a.ping(), b.expect_nothing()


@suite.test(v5="4.8.2-5")
def an_open_qos_2_delivery_ends_with_its_session(t):
    topic = t.topic()
    a = t.persistent(expiry=1).subscribed("$share/g/" + topic, qos=2)
    t.connected().publish(topic, b"x", qos=2)
    a.ack(mqtt.PUBREC, a.expect_publish(topic, b"x").packet_id)
    a.expect(mqtt.PUBREL)
    b = t.connected().subscribed("$share/g/" + topic, qos=2)
    a.cut()
    surely(1)
    b.expect_nothing()


@suite.test(v5="4.8.2-6")
def a_refused_message_goes_to_nobody_else(t):
    topic = t.topic()
    members = [t.connected().subscribed("$share/g/" + topic, qos=2) for _ in range(2)]
    for qos, kind in ((1, mqtt.PUBACK), (2, mqtt.PUBREC)):
        t.connected().publish(topic, b"x", qos=qos)
        packet = None
        deadline = time.monotonic() + raw.TIMEOUT_S
        while packet is None:
            check(time.monotonic() < deadline, "nobody got the message")
            for member in members:
                packet = member.receive(0.01)
                if packet is not None:
                    member.ack(kind, packet.packet_id, 0x80)
                    break
        for member in members:
            member.expect_nothing()


if __name__ == "__main__":
    suite.main()
