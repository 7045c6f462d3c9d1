#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""CONNECT and CONNACK: sections 3.1 and 3.2."""

import string
import time

import packets as mqtt
from client import unique
from packets import V5, V31, V311, Will
from suite import Suite, check, equal, patient, raw

suite = Suite("connect")

BAD_TEXTS = [b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\xff", b"\xf4\x90\x80\x80", b"a\0b"]

# What a refused CONNECT may be told, by protocol version: any code for v5, since only a few are
# prescribed; those few are given where they are.
MALFORMED = (0x81, 0x82)


def connect(t, **options):
    return mqtt.connect(t.version, unique(), **options)


# ---- the first packet -------------------------------------------------------------------------


@suite.test(v5="3.1.0-1", v311="3.1.0-1")
def nothing_comes_before_connect(t):
    v = t.version
    for first in [mqtt.publish(v, "a", b"x"), mqtt.subscribe(v, 1, [("a", 0)]), mqtt.pingreq(),
                  mqtt.unsubscribe(v, 1, ["a"]), mqtt.disconnect(v), mqtt.ack(v, mqtt.PUBACK, 1),
                  mqtt.ack(v, mqtt.PUBREL, 1), mqtt.auth(), mqtt.packet(mqtt.CONNACK, 0, b"\0\0"),
                  mqtt.packet(mqtt.PINGRESP, 0, b"")]:
        c = t.client()
        c.send(first)
        c.expect_close()
        equal(c.got, [], "answers to a first packet that is no CONNECT")


@suite.test(v5="3.1.0-2", v311="3.1.0-2")
def a_second_connect_ends_the_connection(t):
    for client_id in (None, unique()):
        c = t.connected()
        c.send(mqtt.connect(t.version, client_id or c.client_id))
        c.expect_close(0x82)


@suite.test(v5="3.2.0-2")
def there_is_one_connack(t):
    c = t.client()
    c.send(connect(t) * 2)
    c.expect(mqtt.CONNACK, reason=0)
    c.expect_close(0x82)
    equal(sum(p.kind == mqtt.CONNACK for p in c.got), 1, "CONNACKs")


@suite.test(v5=["3.1.4-5", "3.2.2-1", "3.2.2-8", "2.2.2-1", "1.5.5-1"],
            v311=["3.1.4-4", "S2.4", "2.2.2-1", "7.1.1-1", "7.0.0-2"], versions=(V31, V311, V5))
def a_valid_connect_is_accepted(t):
    # The decoder of packets.py insists on the grammar of the answer.
    connack = t.connected().connack
    equal((connack.reason, connack.session_present), (0, False), "CONNACK")


@suite.test(v5=["3.2.0-1", "S3.1.4"], v311=["3.2.0-1", "S3.1.4"])
def connack_comes_first(t):
    c = t.client()
    topic = t.topic()
    c.send(connect(t) + mqtt.pingreq() + mqtt.subscribe(t.version, 1, [(topic, 0)]))
    c.expect(mqtt.CONNACK, reason=0)
    equal({c.receive().kind, c.receive().kind}, {mqtt.PINGRESP, mqtt.SUBACK}, "answers")


# ---- protocol name, version, flags ------------------------------------------------------------


@suite.test(v5="3.1.2-1", v311="3.1.2-1")
def another_protocol_name_is_refused(t):
    for name in ["MQTU", "mqtt", "", "MQTTX", b"\xff\xfe\x80\x81", "MQIsdp", "A" * 65535]:
        t.connect_refused(connect(t, name=name), 0x84, 0x81, 0x95)


@suite.test(v5="3.1.2-2", v311="3.1.2-2")
def another_protocol_level_is_refused(t):
    for level in [0, 1, 2, 6, 9, 0x7f, 0x83, 0x84, 0x85, 255]:
        told = t.connect_refused(connect(t, level=level), 0x84)
        check(told is not None, f"[MQTT-3.1.2-2] level {level} is refused with a CONNACK")


@suite.test(v5="3.1.2-3", v311="3.1.2-3")
def the_reserved_flag_is_refused(t):
    t.connect_refused(connect(t, flags=0x03), *MALFORMED)


@suite.test(v5=["3.1.2-11", "3.1.2-13"], v311=["3.1.2-13", "3.1.2-15"])
def will_flags_without_a_will_are_refused(t):
    for flags in (0x0a, 0x12, 0x1a, 0x22, 0x2a):
        t.connect_refused(connect(t, flags=flags), *MALFORMED)


@suite.test(v5="3.1.2-12", v311="3.1.2-14")
def will_qos_3_is_refused(t):
    t.connect_refused(connect(t, will=Will("a", b"x", qos=3)), *MALFORMED)


@suite.test(v5="3.1.2-9", v311=["3.1.2-9"])
def a_will_flag_without_a_will_is_refused(t):
    t.connect_refused(connect(t, flags=0x06), *MALFORMED)
    props = b"\0" if t.is_v5 else b""
    t.connect_refused(connect(t, flags=0x06, tail=props + mqtt.data("topic")), *MALFORMED)


@suite.test(v5="S3.1.3", v311="3.1.2-11")
def a_will_without_the_flag_is_refused(t):
    tail = (b"\0" if t.is_v5 else b"") + mqtt.data("topic") + mqtt.data("payload")
    t.connect_refused(connect(t, tail=tail), *MALFORMED)


@suite.test(v5=["3.1.2-16", "3.1.2-18"], v311=["3.1.2-18", "3.1.2-20"])
def credentials_without_their_flag_are_refused(t):
    t.connect_refused(connect(t, tail=mqtt.data("user")), *MALFORMED)
    t.connect_refused(connect(t, username="u", flags=0x82, password="p"), *MALFORMED)


@suite.test(v5=["3.1.2-17", "3.1.2-19"], v311=["3.1.2-19", "3.1.2-21"])
def flags_without_their_credentials_are_refused(t):
    t.connect_refused(connect(t, flags=0x82), *MALFORMED)
    t.connect_refused(connect(t, flags=0xc2, username="u"), *MALFORMED)
    t.connect_refused(connect(t, flags=0xc2), *MALFORMED)


@suite.test(v311="3.1.2-22")
def a_password_needs_a_user_name(t):
    t.connect_refused(connect(t, password="p"))


@suite.test(v5="S3.1.2.9")
def a_password_may_come_alone(t):
    # Allowed in v5; the node of this suite does not ask for credentials.
    equal(t.connected(password="p").connack.reason, 0, "CONNACK")


# ---- payload ----------------------------------------------------------------------------------


@suite.test(v5="3.1.3-1", v311="3.1.3-1")
def all_payload_fields_in_their_order(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.connected(will=Will(topic, b"bye", properties={"content_type": "will"}), username="user",
                    password=b"\0\xff")
    c.cut()
    will = watcher.expect_publish(topic, b"bye")
    equal(will.properties.get("content_type"), "will" if t.is_v5 else None, "content type")


@suite.test(v5=["3.1.3-3", "3.1.4-1", "S4.13"], v311=["3.1.3-3", "3.1.4-1", "3.2.2-6"])
def a_connect_cut_anywhere_is_refused(t):
    whole = connect(t, will=Will("w", b"p", properties={"will_delay": 1}), username="user",
                    password="pass", properties={"session_expiry": 1, "user_property": [("a", "b")]})
    body = whole[2:]
    for size in range(len(body)):
        t.connect_refused(mqtt.packet(mqtt.CONNECT, 0, body[:size]), 0x81, 0x82, 0x84, 0x85, 2)


@suite.test(v5="3.1.4-1", v311="3.1.4-1")
def bytes_after_the_last_field_are_refused(t):
    t.connect_refused(connect(t, tail=b"x"), *MALFORMED)
    t.connect_refused(connect(t, username="u", password="p", tail=mqtt.data("more")), *MALFORMED)


@suite.test(v5=["1.5.4-1", "1.5.4-2", "3.1.3-4", "3.1.3-11", "3.1.3-12"],
            v311=["1.5.3-1", "1.5.3-2", "3.1.3-4", "3.1.3-10", "3.1.3-11"])
def bad_utf8_is_refused(t):
    for text in BAD_TEXTS:
        t.connect_refused(mqtt.connect(t.version, text), 0x81, 0x85, 2)
        t.connect_refused(connect(t, will=Will(text, b"x")), 0x81, 0x90)
        t.connect_refused(connect(t, username=text), 0x81, 0x86, 4)


@suite.test(v5=["1.5.7-1", "1.5.4-1"])
def bad_utf8_in_properties_is_refused(t):
    for text in BAD_TEXTS:
        for pair in ((text, "v"), ("k", text)):
            t.connect_refused(connect(t, properties={"user_property": [pair]}), 0x81)
        t.connect_refused(connect(t, properties={"authentication_method": text}), 0x81)
        for name in ("content_type", "response_topic"):
            t.connect_refused(connect(t, will=Will("a", properties={name: text})), 0x81)


@suite.test(v5="3.1.3-5", v311="3.1.3-5")
def plain_client_ids_are_accepted(t):
    letters = string.digits + string.ascii_letters
    # The ids are everybody's: no other test may use them at this moment, so they get a tail.
    for start in range(0, 62, 16):
        t.connected(letters[start:start + 16] + unique()[-7:].rjust(7, "0"))
    t.connected({V311: "q", V5: "z"}[t.version])


@suite.test(v5="S3.1.3.1", v311="S3.1.3.1")
def long_and_odd_client_ids_are_served_or_refused(t):
    for client_id in ["x" * 223 + unique(), "/+#$ äöü 日本 \U0001f347" + unique(), "y" * 65535]:
        c = t.client(client_id)
        c.send(mqtt.connect(t.version, client_id) + mqtt.pingreq())
        if c.expect_one_of_or_close(mqtt.CONNACK, 0, 0x85, 2, 0x95) == 0:
            c.expect(mqtt.PINGRESP)


@suite.test(v5=["3.1.3-6", "3.1.3-7", "3.2.2-16"])
def an_empty_id_gets_a_new_one(t):
    for clean in (True, False):
        a, b = t.connected("", clean=clean), t.connected("", clean=clean)
        ids = {c.connack.properties["assigned_client_id"] for c in (a, b)}
        equal(len(ids), 2, "different ids")
        a.ping(), b.ping()


@suite.test(v5="3.2.2-16")
def an_assigned_id_resumes_its_session(t):
    a = t.persistent("")
    assigned = a.connack.properties["assigned_client_id"]
    a.disconnect()
    equal(t.persistent(assigned).connack.session_present, True, "Session Present")


@suite.test(v311="3.1.3-6")
def an_empty_id_is_accepted(t):
    a, b = t.connected(""), t.connected("")
    a.ping(), b.ping()


@suite.test(v311=["3.1.3-8", "3.1.3-9", "3.2.2-4", "3.2.2-5"])
def an_empty_id_needs_a_clean_session(t):
    equal(t.connect_refused(mqtt.connect(t.version, "", clean=False)), 2, "return code")


@suite.test(v5="3.1.3-2", v311="3.1.3-2")
def the_id_identifies_the_session(t):
    topic = t.topic()
    a, b = t.persistent(), t.persistent()
    a.subscribed(topic, qos=1)
    a.cut(), b.cut()
    t.connected().publish(topic, b"for a", qos=1)
    b = t.persistent(b.client_id)
    equal(b.connack.session_present, True, "b's session")
    b.expect_nothing()
    t.persistent(a.client_id).take(topic, b"for a")


# ---- CONNECT properties -----------------------------------------------------------------------

ONCE = {"session_expiry": 1, "receive_maximum": 5, "maximum_packet_size": 500,
        "topic_alias_maximum": 5, "request_response_information": 0,
        "request_problem_information": 1}


@suite.test(v5=["S3.1.2.11.2", "S3.1.2.11.3", "S3.1.2.11.4", "S3.1.2.11.5", "S3.1.2.11.6",
                "S3.1.2.11.7", "S3.1.2.11.9", "S3.1.2.11.10"])
def connect_properties_stand_once(t):
    t.connected(properties=ONCE)
    for name, value in ONCE.items():
        t.connect_refused(connect(t, properties={name: [value, value]}), 0x82)
    t.connect_refused(connect(t, properties={"authentication_method": ["a", "a"]}), 0x82, 0x8c)
    t.connect_refused(connect(t, properties={"authentication_method": "a",
                                             "authentication_data": ["a", "a"]}), 0x82, 0x8c)


@suite.test(v5=["S3.1.2.11.3", "S3.1.2.11.4", "S3.1.2.11.6", "S3.1.2.11.7", "S3.1.2.11.10"])
def connect_properties_have_their_values(t):
    for wrong in ({"receive_maximum": 0}, {"maximum_packet_size": 0},
                  {"request_response_information": 2}, {"request_problem_information": 2},
                  {"authentication_data": "x"}):
        t.connect_refused(connect(t, properties=wrong), 0x82)


@suite.test(v5="S3.1.2.11.8")
def user_properties_may_repeat(t):
    t.connected(properties={"user_property": [("k", str(i)) for i in range(50)]})


@suite.test(v5="S2.2.2.2")
def misplaced_and_unknown_properties_are_refused(t):
    t.connect_refused(connect(t, properties=mqtt.props(b"\x7f\0")), *MALFORMED)
    for name, value in {"payload_format": 0, "topic_alias": 1, "will_delay": 1, "maximum_qos": 1,
                        "subscription_id": 1, "assigned_client_id": "x", "reason_string": "x",
                        "server_keep_alive": 1, "retain_available": 1}.items():
        t.connect_refused(connect(t, properties={name: value}), *MALFORMED)


@suite.test(v5="S2.2.2.1")
def property_lengths_must_fit(t):
    user = mqtt.prop("user_property", ("key", "value"))
    for properties in (mqtt.varint(len(user) + 200) + user, mqtt.varint(len(user) - 2) + user,
                       mqtt.varint(3) + user[:3], b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01",
                       b"\xff\xff\xff\x7f"):
        t.connect_refused(connect(t, properties=properties), *MALFORMED)


@suite.test(v5="S3.1.3.2")
def will_properties_stand_once_with_their_values(t):
    once = {"will_delay": 1, "payload_format": 0, "message_expiry": 5, "content_type": "c",
            "response_topic": "r", "correlation_data": b"d"}
    t.connected(will=Will("a", properties=once)).disconnect()
    for name, value in once.items():
        t.connect_refused(connect(t, will=Will("a", properties={name: [value, value]})), 0x82)
    for wrong in ({"payload_format": 2}, {"topic_alias": 1}, {"session_expiry": 1},
                  {"subscription_id": 1}, {"receive_maximum": 1}):
        t.connect_refused(connect(t, will=Will("a", properties=wrong)), *MALFORMED)
    t.connect_refused(connect(t, will=Will("a", properties=mqtt.props(b"\x7f\0"))), *MALFORMED)
    for length in (b"\xff\xff\xff\xff\x7f", mqtt.varint(5000)):
        t.connect_refused(connect(t, will=Will("a", properties=length)), *MALFORMED)


@suite.test(v5=["4.7.0-1", "4.7.3-1"], v311=["4.7.1-1", "4.7.3-1"])
def will_topics_are_topics(t):
    for topic in ("", "a/+", "#", "a#b", "+"):
        t.connect_refused(connect(t, will=Will(topic, b"x")), 0x90, 0x81, 0x82)


@suite.test(v5=["3.1.2-28", "4.12.0-6"])
def what_was_not_asked_for_is_not_in_connack(t):
    for properties in ({}, {"request_response_information": 0}):
        connack = t.connected(properties=properties).connack
        check("response_information" not in connack.properties, "Response Information")
        check("authentication_method" not in connack.properties, "Authentication Method")


@suite.test(v5=["3.2.2-9", "3.2.2-10", "3.2.2-12", "3.2.2-13"])
def what_connack_does_not_rule_out_works(t):
    c = t.connected()
    topic = t.topic()
    suback = c.subscribe((topic, 0), (topic + "/1", 1), (topic + "/2", 2))
    said = c.connack.properties
    for qos in range(said.get("maximum_qos", 2) + 1):
        c.publish(topic + "/x", b"", qos=qos)
        t.connected(will=Will(topic, qos=qos)).disconnect()
    if "maximum_qos" not in said:
        equal(suback.codes, [0, 1, 2], "grants")
    else:
        t.connect_refused(connect(t, will=Will(topic, qos=2)), 0x9b)
    if said.get("retain_available", 1):
        t.connected(will=Will(topic, retain=True)).disconnect()
    else:
        t.connect_refused(connect(t, will=Will(topic, retain=True)), 0x9a)


@suite.test(v5=["3.2.2-19", "3.2.2-20"])
def connack_fits_into_the_clients_maximum(t):
    for size in (64, 100):
        c = t.client("x" * 23)
        c.send(mqtt.connect(V5, unique(), properties={"maximum_packet_size": size}))
        check(len(c.expect(mqtt.CONNACK).raw) <= size, "CONNACK is too large")


# ---- refusals ---------------------------------------------------------------------------------


@suite.test(v5=["3.2.2-7", "4.12.0-1", "3.14.0-1", "3.2.2-6", "4.13.2-1"])
def an_unknown_authentication_method_is_refused(t):
    client_id = t.persistent().client_id
    told = t.connect_refused(mqtt.connect(V5, client_id, clean=False, properties={
        "authentication_method": "no-such-method", "authentication_data": b"x"}), 0x8c, 0x87)
    check(told is not None, "no CONNACK")


@suite.test(v5="3.1.4-6", v311="3.1.4-5")
def nothing_is_processed_after_a_refused_connect(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    t.connect_refused(connect(t, flags=0x03) + mqtt.publish(t.version, topic, b"x")
                      + connect(t) + mqtt.publish(t.version, topic, b"y"))
    watcher.expect_nothing(0.3)


# ---- take-over --------------------------------------------------------------------------------


@suite.test(v5="3.1.4-3", v311="3.1.4-2")
def a_second_connection_takes_over(t):
    first = t.connected()
    second = t.connected(first.client_id)
    told = first.expect_close(0x8e)
    check(not t.is_v5 or told == 0x8e, "DISCONNECT 0x8E did not come")
    second.ping()


@suite.test(v5=["S3.1.4", "3.1.4-3"], v311=["S3.1.4", "3.1.4-2"])
def take_overs_in_a_row_and_across_versions(t):
    client_id = unique()
    topic = t.topic()
    for i in range(20):
        c = t.persistent(client_id, version=(V31, V311, V5)[i % 3])
        equal(c.version == V31 or c.connack.session_present, c.version == V31 or i > 0,
              "Session Present")
    c.subscribed(topic, qos=1)
    t.connected().publish(topic, b"x", qos=1)
    c.take(topic, b"x")


# ---- keep alive -------------------------------------------------------------------------------


@suite.test(v5=["3.1.2-22", "3.2.2-22"], v311="3.1.2-24")
def silence_ends_the_connection(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    begun = time.monotonic()
    c = t.connected(keep_alive=2, will=Will(topic, b"gone"))
    c.expect_close(0x8d, timeout_s=patient(8))
    seconds = time.monotonic() - begun
    # The standard says when it has to be over (at 3 s); not a second before, and soon after.
    check(2.5 <= seconds <= 3 + patient(2.5), f"closed after {seconds:.1f} s")
    watcher.expect_publish(topic, b"gone")


@suite.test(v5="S3.1.2.10", v311="S3.1.2.10")
def every_packet_keeps_the_connection_alive(t):
    def is_kept(keep_alive):
        c = t.connected(keep_alive=keep_alive)
        try:
            for _ in range(4):
                time.sleep(0.8 * keep_alive)
                c.send(mqtt.publish(t.version, t.topic(), b"x"))
            for _ in range(2):
                time.sleep(0.8 * keep_alive)
                c.ping()
            return True
        except raw.Unexpected:
            return False
    # Of a short time a busy machine may eat up the rest; of a longer one not.
    check(any(is_kept(keep_alive) for keep_alive in (1, 3, 9)), "closed though packets came")


def still_open(c):
    try:
        while (packet := c.receive(0.01)) is not None:
            if packet.kind == mqtt.DISCONNECT:
                return False
        return True
    except AssertionError:
        return False


@suite.test(v5="S3.1.2.10", v311="S3.1.2.10")
def what_the_server_sends_keeps_nothing_alive(t):
    topic = t.topic()
    c = t.connected(keep_alive=1).subscribed(topic)
    publisher = t.connected()
    begun = time.monotonic()
    while still_open(c):
        seconds = time.monotonic() - begun
        check(seconds < patient(5), f"open after {seconds:.0f} s without a word from the client")
        time.sleep(0.4)
        publisher.publish(topic, b"x")


@suite.test(v5="S3.1.2.10", v311="S3.1.2.10")
def keep_alive_0_turns_the_check_off(t):
    c = t.connected(keep_alive=0)
    time.sleep(4.5)
    c.ping()


# ---- framing ----------------------------------------------------------------------------------


@suite.test(v5=["S2.1.4", "S2.1.2"], v311=["S2.2.3", "S2.2.1"])
def wrong_fixed_headers_are_refused(t):
    for header in (b"\x10\xff\xff\xff\xff\x7f", b"\x10\x80\x80\x80\x80\x00", b"\x00\x00",
                   b"\xf1\x00", b"\x11" + connect(t)[1:], b"\x1f" + connect(t)[1:]):
        t.connect_refused(header)


@suite.test(v5="4.2.0-1", v311="4.2.0-1")
def bytes_may_come_one_by_one_or_all_together(t):
    topic = t.topic()
    stream = (connect(t) + mqtt.subscribe(t.version, 1, [(topic, 1)])
              + mqtt.publish(t.version, topic, b"one", 1, 2) + mqtt.pingreq())
    for pieces in ([stream[i:i + 1] for i in range(len(stream))], [stream]):
        c = t.client()
        for piece in pieces:
            c.send(piece)
        kinds = sorted(c.receive().kind for _ in range(5))
        equal(kinds, sorted([mqtt.CONNACK, mqtt.SUBACK, mqtt.PUBLISH, mqtt.PUBACK, mqtt.PINGRESP]),
              "answers")
        c.cut()


@suite.test(v5="S3.2.2.3", versions=(V5,))
def connack_limits_are_told(t):
    said = t.connected().connack.properties
    check(0 < said.get("receive_maximum", 65535), "Receive Maximum")
    check(said.get("maximum_packet_size", 1) > 0, "Maximum Packet Size")


if __name__ == "__main__":
    suite.main()
