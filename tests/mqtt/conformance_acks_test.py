#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""QoS exchanges, flow control, PINGREQ, DISCONNECT, AUTH: 3.4 to 3.7, 3.12 to 3.15, 4.3 to 4.13."""

import time

import packets as mqtt
from packets import V5, V31, V311, Will
from suite import Skip, Suite, check, equal, surely

suite = Suite("acks")

ACKS = (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP)


# ---- form -------------------------------------------------------------------------------------


@suite.test(v5=["3.6.1-1", "2.1.3-1"], v311=["3.6.1-1", "2.2.2-2"])
def wrong_flags_are_refused(t):
    for kind in ACKS:
        for flags in set(range(16)) - {2 if kind == mqtt.PUBREL else 0}:
            t.refused(mqtt.ack(t.version, kind, 1, flags=flags), 0x81)


@suite.test(v5=["4.13.1-1", "S4.13", "S2.2.2.1"], v311="4.8.0-1")
def acknowledgements_cut_anywhere_are_refused(t):
    for kind in ACKS:
        flags = 2 if kind == mqtt.PUBREL else 0
        body = mqtt.ack(t.version, kind, 1, 0x92 if kind in (mqtt.PUBREL, mqtt.PUBCOMP) else 0x80,
                        properties={"reason_string": "why", "user_property": ("a", "b")})[2:]
        for size in range(len(body)):
            if size in (2, 3):
                continue  # the short forms
            t.refused(mqtt.packet(kind, flags, body[:size]), 0x81, 0x82)
        t.refused(mqtt.packet(kind, flags, body + b"x"), 0x81, 0x82)
        t.refused(mqtt.packet(kind, flags, b"\0\0"), 0x81, 0x82)


@suite.test(v5=["S2.2.2.2", "S2.2.2.1"])
def wrong_properties_are_refused(t):
    for kind in ACKS:
        for properties in (mqtt.props(b"\x7f\0"), {"topic_alias": 1}, {"session_expiry": 1},
                           {"reason_string": ["a", "a"]}, b"\x20", b"\xff\xff\xff\xff\x7f",
                           {"reason_string": b"\xff"}):
            t.refused(mqtt.ack(V5, kind, 1, 0, properties=properties), 0x81, 0x82)


@suite.test(v5="S3.4.2.1")
def codes_that_are_in_no_table_are_refused(t):
    # The reaction is the server's choice; ours is to say that it is a protocol error.
    t.node()
    for kind in ACKS:
        t.refused(mqtt.ack(V5, kind, 1, 0x05), 0x82, 0x81)


@suite.test(v5=["S2.1.2", "2.1.3-1"], v311=["S2.2.1", "2.2.2-2"])
def packets_of_a_server_and_reserved_ones_are_refused(t):
    for kind, body in ((0, b""), (mqtt.CONNACK, b"\0\0"), (mqtt.SUBACK, b"\0\1\0"),
                       (mqtt.UNSUBACK, b"\0\1"), (mqtt.PINGRESP, b"")):
        t.refused(mqtt.packet(kind, 0, body), 0x81, 0x82)
    if not t.is_v5:
        t.refused(mqtt.packet(15, 0, b""))
    for kind in (mqtt.PINGREQ, mqtt.DISCONNECT):
        for flags in (1, 2, 4, 8, 15):
            t.refused(mqtt.packet(kind, flags, b""), 0x81)


@suite.test(v5="S2.1.4", v311="S2.2.3")
def a_remaining_length_of_five_bytes_is_refused(t):
    for first in range(16):
        t.refused(bytes([first << 4]) + b"\xff\xff\xff\xff\x7f")
        t.refused(bytes([first << 4]) + b"\x80\x80\x80\x80\x00")


# ---- receiving --------------------------------------------------------------------------------


@suite.test(v5="4.3.2-5", v311="4.3.2-2")
def a_qos_1_id_is_free_after_puback(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=1)
    c = t.connected()
    c.publish(topic, b"1", qos=1, packet_id=7)
    c.publish(topic, b"2", qos=1, packet_id=7, dup=True)
    watcher.take(topic, b"1")
    watcher.take(topic, b"2")


@suite.test(v5="4.3.3-10", v311="4.3.3-2")
def a_qos_2_repeat_is_not_delivered_again(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    c = t.persistent()

    def repeat(dup):
        c.send(mqtt.publish(t.version, topic, b"x", 2, 7, dup=dup))
        c.expect(mqtt.PUBREC, packet_id=7)
    for dup in (False, True, True, False):
        repeat(dup)
    c.cut()
    c = t.persistent(c.client_id)
    repeat(True)
    c.ack(mqtt.PUBREL, 7)
    c.expect(mqtt.PUBCOMP, packet_id=7)
    watcher.take(topic, b"x")
    watcher.expect_nothing()


@suite.test(v5=["4.3.3-11", "3.7.2-1"], v311="4.3.3-2")
def pubrel_is_always_answered(t):
    topic = t.topic()
    c = t.persistent()
    c.send(mqtt.publish(t.version, topic, b"x", 2, 7))
    c.expect(mqtt.PUBREC, packet_id=7)
    c.cut()
    c = t.persistent(c.client_id)
    for reason in (0, 0x92, 0x92):
        c.ack(mqtt.PUBREL, 7)
        c.expect(mqtt.PUBCOMP, packet_id=7, reason=reason if t.is_v5 else 0)


@suite.test(v5="4.3.3-12", v311="4.3.3-2")
def a_qos_2_id_is_free_after_pubcomp(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    c = t.connected()
    for payload in (b"1", b"2", b"3"):
        c.publish(topic, payload, qos=2, packet_id=7)
        watcher.take(topic, payload)


@suite.test(v5="4.3.3-13")
def expiry_does_not_stop_the_exchange(t):
    c = t.connected()
    c.send(mqtt.publish(V5, t.topic(), b"x", 2, 7, properties={"message_expiry": 1}))
    c.expect(mqtt.PUBREC, packet_id=7)
    surely(1)
    c.ack(mqtt.PUBREL, 7)
    c.expect(mqtt.PUBCOMP, packet_id=7, reason=0)


@suite.test(v5=["3.4.2-1", "3.5.2-1"])
def without_subscribers_the_answer_says_so(t):
    # 0x10 is allowed, not asked for; a server that gives it must give it for the truth.
    topic = t.topic()
    c = t.connected()
    for qos in (1, 2):
        check(c.publish(topic, b"x", qos=qos).reason in (0, 0x10), "reason")
    t.connected().subscribed(topic)
    for qos in (1, 2):
        equal(c.publish(topic, b"x", qos=qos).reason, 0, "reason with a subscriber")


@suite.test(v5=["4.3.3-9", "S4.9"])
def a_refused_qos_2_publish_frees_its_id(t):
    c = t.connected()
    reason = c.publish("$SYS/not/yours", b"x", qos=2, packet_id=5).reason
    if reason < 0x80:
        raise Skip("nothing is refused here")
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    for payload in (b"1", b"2"):
        equal(c.publish(topic, payload, qos=2, packet_id=5).reason, 0, "reason")
        watcher.take(topic, payload)


@suite.test(v5=["S4.6", "2.2.1-5"], v311="S4.6")
def answers_come_in_the_order_of_the_publishes(t):
    topic = t.topic()
    t.connected().subscribed(topic + "/1", qos=1)
    c = t.connected()
    c.send(b"".join(mqtt.publish(t.version, f"{topic}/{i % 3}", b"x", 1 + i % 2, i + 1)
                    for i in range(40)))
    for i in range(40):
        c.expect(mqtt.PUBREC if i % 2 else mqtt.PUBACK, packet_id=i + 1)


@suite.test(v5=["3.3.4-7", "S3.2.2.3.3"])
def more_than_our_receive_maximum_is_refused(t):
    c = t.connected()
    maximum = c.connack.properties.get("receive_maximum", 65535)
    if maximum > 5000:
        raise Skip(f"Receive Maximum is {maximum}")
    topic = t.topic()
    for packet_id in range(1, maximum + 1):
        c.send(mqtt.publish(V5, topic, b"x", 2, packet_id))
    for packet_id in range(1, maximum + 1):
        c.expect(mqtt.PUBREC, packet_id=packet_id)
    c.ping()
    c.send(mqtt.publish(V5, topic, b"x", 2, maximum + 1))
    check(c.expect_close(0x93) == 0x93, "no DISCONNECT 0x93")


@suite.test(v5=["3.3.4-7", "S4.9"])
def each_acknowledgement_gives_the_quota_back(t):
    c = t.connected()
    maximum = c.connack.properties.get("receive_maximum", 65535)
    if maximum > 5000:
        raise Skip(f"Receive Maximum is {maximum}")
    topic = t.topic()
    packet_id = 0
    for qos in (1, 2, 1, 2):
        for _ in range(maximum // 2):
            packet_id = packet_id % 65535 + 1
            c.publish(topic, b"x", qos=qos, packet_id=packet_id)
    c.ping()


@suite.test(v5="S2.2.1", v311="S2.3.1")
def both_sides_number_for_themselves(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    t.connected().publish(topic, b"from them", qos=2)
    got = c.expect_publish(topic, b"from them", qos=2)
    c.publish(topic + "/x", b"from us", qos=2, packet_id=got.packet_id)
    c.publish(topic + "/x", b"from us", qos=1, packet_id=got.packet_id)
    c.acknowledge(got)


# ---- sending ----------------------------------------------------------------------------------


@suite.test(v5=["2.2.1-4", "4.3.2-1", "4.3.2-2", "4.3.3-1", "4.3.3-2"],
            v311=["2.3.1-4", "4.3.2-1", "4.3.3-1"])
def open_deliveries_have_different_ids(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    publisher = t.connected()
    for i in range(20):
        publisher.publish(topic, str(i), qos=1 + i % 2)
    packets = [c.expect_publish(topic, str(i), qos=1 + i % 2, dup=False) for i in range(20)]
    equal(len({p.packet_id for p in packets}), 20, "ids")


@suite.test(v5=["4.3.3-4", "3.6.2-1"], v311="4.3.3-1")
def pubrec_brings_pubrel(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    publisher = t.connected()
    publisher.publish(topic, b"x", qos=2)
    packet_id = c.expect_publish(topic, b"x").packet_id
    for _ in range(2):  # repeated by a client that is not sure: answered again
        c.ack(mqtt.PUBREC, packet_id)
        c.expect(mqtt.PUBREL, packet_id=packet_id)
    c.ack(mqtt.PUBCOMP, packet_id)
    c.expect_nothing()


@suite.test(v5=["4.3.3-4", "4.4.0-2", "S3.4.2.1", "S4.9"])
def an_error_ends_the_delivery(t):
    topic = t.topic()
    c = t.persistent(properties={"receive_maximum": 1}).subscribed(topic, qos=2)
    publisher = t.connected()
    for qos, kind in ((1, mqtt.PUBACK), (2, mqtt.PUBREC), (1, mqtt.PUBACK)):
        publisher.publish(topic, b"refused", qos=qos)
        c.ack(kind, c.expect_publish(topic, b"refused").packet_id, 0x97)
    c.expect_nothing()
    c.cut()
    c = t.persistent(c.client_id)
    c.expect_nothing()
    publisher.publish(topic, b"good", qos=2)
    c.take(topic, b"good")


@suite.test(v5=["4.4.0-1", "4.3.2-3", "4.3.3-3", "4.3.3-5", "4.3.3-6", "3.3.1-1"],
            v311=["4.4.0-1", "4.3.2-1", "4.3.3-1", "3.3.1-1", "S4.3.3", "2.3.1-4", "4.1.0-1"])
def open_exchanges_go_on_after_a_reconnect(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, qos=2)
    publisher = t.connected()
    publisher.publish(topic, b"qos 1", qos=1)
    publisher.publish(topic, b"qos 2", qos=2)
    publisher.publish(topic, b"released", qos=2)
    one, two, three = (c.expect_publish(topic) for _ in range(3))
    c.ack(mqtt.PUBREC, three.packet_id)
    c.expect(mqtt.PUBREL, packet_id=three.packet_id)
    for _ in range(2):
        c.cut()
        c = t.persistent(c.client_id)
        for was in (one, two):
            c.expect_publish(topic, was.payload, qos=was.qos, dup=True, packet_id=was.packet_id)
        c.expect(mqtt.PUBREL, packet_id=three.packet_id)
    c.ack(mqtt.PUBCOMP, three.packet_id)
    c.ack(mqtt.PUBACK, one.packet_id)
    c.acknowledge(two)
    c.ping()
    c.cut()
    t.persistent(c.client_id).expect_nothing()


@suite.test(v5="4.4.0-1")
def nothing_is_repeated_on_a_live_connection(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    publisher = t.connected()
    publisher.publish(topic, b"1", qos=1)
    publisher.publish(topic, b"2", qos=2)
    c.expect_publish(), c.expect_publish()
    time.sleep(4)
    c.expect_nothing()


@suite.test(v5="4.3.3-7")
def a_message_on_its_way_does_not_expire(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, qos=2)
    t.connected().publish(topic, b"x", qos=2, properties={"message_expiry": 1})
    got = c.expect_publish(topic, b"x")
    surely(1)
    c.acknowledge(got)
    c.ping()


@suite.test(v5="S3.4.2.1", v311="S4.3.3")
def acknowledgements_of_nothing_do_no_harm(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=2)
    t.connected().publish(topic, b"x", qos=2)
    got = c.expect_publish(topic, b"x")
    for packet_id in (got.packet_id + 1, 65535):
        c.ack(mqtt.PUBACK, packet_id)
        c.ack(mqtt.PUBCOMP, packet_id)
        c.ack(mqtt.PUBREC, packet_id)
        c.expect(mqtt.PUBREL, packet_id=packet_id, reason=0x92 if t.is_v5 else 0)
    c.ack(mqtt.PUBACK, got.packet_id)  # the wrong kind for this one
    c.ack(mqtt.PUBCOMP, got.packet_id)  # too early
    c.acknowledge(got)
    c.expect_nothing()


@suite.test(v5=["3.3.4-9", "4.9.0-2", "3.3.4-10", "4.9.0-3", "S4.9"])
def our_receive_maximum_is_respected(t):
    for maximum in (1, 2, 5):
        topic = t.topic()
        c = t.connected(properties={"receive_maximum": maximum}).subscribed(topic, qos=2)
        publisher = t.connected()
        for i in range(12):
            publisher.publish(topic, str(i), qos=1 + i % 2)
        window = [c.expect_publish(topic, str(i)) for i in range(maximum)]
        c.expect_nothing()
        # Everything else goes on: PINGREQ above, and these.
        c.subscribed(topic + "/q0")
        publisher.publish(topic + "/q0", b"0")
        c.expect_publish(topic + "/q0", b"0")
        c.publish(topic + "/other", b"", qos=1)
        c.publish(topic + "/other", b"", qos=2)
        for i in range(12):
            packet = window.pop(0) if window else c.expect_publish(topic, str(i))
            if packet.qos == 2:
                c.ack(mqtt.PUBREC, packet.packet_id)
                c.expect(mqtt.PUBREL, packet_id=packet.packet_id)
                if not window and i < 11 and maximum == 1:
                    c.expect_nothing(0.05)  # PUBREC does not free the place, PUBCOMP does
                c.ack(mqtt.PUBCOMP, packet.packet_id)
            else:
                c.ack(mqtt.PUBACK, packet.packet_id)
            if i + maximum < 12:
                window.append(c.expect_publish(topic, str(i + maximum)))
        c.expect_nothing()


@suite.test(v5="4.9.0-1")
def a_smaller_window_is_respected_on_resume(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, qos=1)
    publisher = t.connected()
    for i in range(5):
        publisher.publish(topic, str(i), qos=1)
        c.expect_publish(topic, str(i))
    c.cut()
    c = t.persistent(c.client_id, properties={"receive_maximum": 2})
    window = [c.expect_publish(topic, str(i), dup=True) for i in range(2)]
    c.expect_nothing()
    for i in range(2, 5):
        c.acknowledge(window.pop(0))
        window.append(c.expect_publish(topic, str(i)))


@suite.test(v5=["3.1.2-24", "3.1.2-25"])
def packets_above_our_maximum_are_not_sent(t):
    topic = t.topic()
    maximum = {"maximum_packet_size": 200}
    overhead = len(mqtt.publish(V5, topic, b"", 1, 1))
    fits = bytes(200 - overhead - 1)  # one less, because the remaining length has two bytes then
    equal(len(mqtt.publish(V5, topic, fits, 1, 1)), 200, "the size that fits")
    too_large = fits + b"x"
    publisher = t.connected()
    c = t.persistent(properties={**maximum, "receive_maximum": 1}).subscribed(topic, qos=2)
    for qos in (1, 2):
        publisher.publish(topic, too_large, qos=qos)
        publisher.publish(topic, fits, qos=qos)
        c.take(topic, fits)
    c.disconnect()
    publisher.publish(topic, too_large, qos=2)
    publisher.publish(topic, fits, qos=2)
    c = t.persistent(c.client_id, properties=maximum)
    c.take(topic, fits)
    c.expect_nothing()
    publisher.publish(topic, too_large, qos=1, retain=True)
    t.connected(properties=maximum).subscribed(topic, qos=1).expect_nothing()


# ---- order ------------------------------------------------------------------------------------


@suite.test(v5="4.6.0-5", v311="4.6.0-6", versions=(V31, V311, V5))
def messages_keep_their_order(t):
    topic = t.topic()
    for qos in (0, 1, 2):
        c = t.connected().subscribed(topic, qos=qos)
        offline = t.persistent().subscribed(topic, qos=qos)
        offline.disconnect()
        publisher = t.connected()
        publisher.send(b"".join(mqtt.publish(t.version, topic, str(i), qos, i + 1)
                                for i in range(100)))
        for i in range(100):
            c.take(topic, str(i), qos=qos)
        if qos:
            offline = t.persistent(offline.client_id)
            for i in range(100):
                offline.take(topic, str(i), qos=qos)
            offline.cut()
        c.cut()


@suite.test(v5=["4.6.0-6", "4.6.0-5"], v311="4.6.0-5")
def order_over_a_wildcard_and_a_small_window(t):
    topic = t.topic()
    c = t.connected(properties={"receive_maximum": 5}).subscribed(topic + "/+", qos=2)
    publisher = t.connected()
    publisher.send(b"".join(mqtt.publish(t.version, f"{topic}/{i % 3}", str(i), 1, i + 1)
                            for i in range(60)))
    got = {}
    for _ in range(60):
        packet = c.take()
        got.setdefault(packet.topic, []).append(int(packet.payload))
    equal({k: sorted(v) for k, v in got.items()}, got, "order")
    equal(len(got), 3, "topics")


@suite.test(v5="4.6.0-5", v311="4.6.0-6")
def redelivery_keeps_the_order(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, qos=1)
    publisher = t.connected()
    for i in range(30):
        publisher.publish(topic, str(i), qos=1)
    for i in range(30):
        packet = c.expect_publish(topic, str(i))
        if i < 5:
            c.acknowledge(packet)
    c.ping()
    c.cut()
    publisher.publish(topic, b"30", qos=1)
    c = t.persistent(c.client_id)
    for i in range(5, 31):
        c.take(topic, str(i))


# ---- PINGREQ, DISCONNECT, AUTH ----------------------------------------------------------------


@suite.test(v5="3.12.4-1", v311="3.12.4-1", versions=(V31, V311, V5))
def pingreq_is_answered(t):
    c = t.connected()
    for count in (1, 3, 20):
        c.send(mqtt.pingreq() * count)
        for _ in range(count):
            c.expect(mqtt.PINGRESP)
    c.expect_nothing()


@suite.test(v5="S3.12.1", v311="S3.12.1")
def pingreq_has_no_body(t):
    t.refused(mqtt.packet(mqtt.PINGREQ, 0, b"x"), 0x81)


@suite.test(v311="S3.14")
def disconnect_has_no_body(t):
    t.refused(mqtt.packet(mqtt.DISCONNECT, 0, b"x"))


@suite.test(v5=["S3.14.2", "S3.14.4", "3.14.4-2"], v311="S3.14.4")
def disconnect_closes(t):
    packets = [mqtt.disconnect(t.version)]
    if t.is_v5:
        packets += [mqtt.disconnect(V5, 0), mqtt.disconnect(V5, 4), mqtt.disconnect(V5, 0, {}),
                    mqtt.disconnect(V5, 0x80, {"reason_string": "why",
                                               "user_property": [("a", "b")] * 3})]
    for packet in packets:
        c = t.connected()
        c.send(packet)
        equal(c.expect_close(), None, "a word after DISCONNECT")


@suite.test(v5=["3.14.1-1", "S3.14.2.2", "S2.2.2.2"], v311="3.14.1-1")
def a_wrong_disconnect_publishes_the_will(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    packets = [mqtt.packet(mqtt.DISCONNECT, flags, b"") for flags in (1, 2, 4, 8)]
    if t.is_v5:
        packets += [mqtt.disconnect(V5, 0, p) for p in (
            {"session_expiry": [1, 1]}, {"reason_string": ["a", "a"]}, {"topic_alias": 1},
            mqtt.props(b"\x7f\0"), b"\x09", b"\xff\xff\xff\xff\x7f")]
        packets.append(mqtt.packet(mqtt.DISCONNECT, 0, b"\x05"))
    for i, packet in enumerate(packets):
        c = t.connected(will=Will(topic, str(i)), properties={"session_expiry": 5})
        c.send(packet)
        c.expect_close(0x81, 0x82)
        watcher.expect_publish(topic, str(i))


@suite.test(v5="S3.14.2.2.2")
def disconnect_may_change_the_expiry(t):
    for before, after, is_kept in ((600, 0, False), (1, 60, True), (60, 1, False)):
        c = t.persistent(expiry=before)
        c.disconnect(0, {"session_expiry": after})
        surely(1)
        equal(t.persistent(c.client_id).connack.session_present, is_kept, f"{before} to {after}")
    c = t.connected()
    c.send(mqtt.disconnect(V5, 0, {"session_expiry": 60}))
    c.expect_close(0x82)
    equal(t.persistent(c.client_id).connack.session_present, False, "0 to 60")


@suite.test(v5=["4.12.0-7", "3.15.1-1"])
def auth_without_a_method_is_refused(t):
    for reason in (0, 0x18, 0x19):
        t.refused(mqtt.auth(reason), 0x82, 0x81)
    t.refused(mqtt.auth(0x19, {"authentication_method": "x"}), 0x82, 0x81)
    t.refused(mqtt.packet(mqtt.AUTH, 0, b""), 0x82, 0x81)
    t.refused(mqtt.packet(mqtt.AUTH, 1, b""), 0x81, 0x82)


# ---- errors -----------------------------------------------------------------------------------


@suite.test(v5=["4.13.1-1", "4.13.2-1", "3.14.4-1", "3.14.2-1", "3.14.2-2"],
            v311=["4.8.0-1", "3.14.4-2"])
def after_an_error_nothing_is_processed(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    after = mqtt.publish(t.version, topic, b"after the end")
    for packet in (mqtt.packet(mqtt.PUBLISH, 6, b"\0\1a\0\1\0"), mqtt.packet(0, 0, b""),
                   mqtt.subscribe(t.version, 1, []), mqtt.disconnect(t.version)):
        c = t.connected()
        c.send(packet + after)
        c.expect_close()
    watcher.expect_nothing()
    watcher.publish(topic, b"still well")
    watcher.expect_publish(topic, b"still well")


if __name__ == "__main__":
    suite.main()
