#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Session state and wills: 3.1.2.4 to 3.1.2.7, 3.1.2.11.2, 3.1.3.2, 4.1."""

import time

import packets as mqtt
from client import unique
from packets import V5, V31, V311, Will
from suite import Suite, check, equal, raw, surely

suite = Suite("session", {"mqtt.connect_size_max": "64KiB"})  # for large wills


# ---- sessions ---------------------------------------------------------------------------------


@suite.test(v5=["3.1.2-5", "3.1.2-23", "3.2.2-3", "3.1.4-4", "4.1.0-1"],
            v311=["3.1.2-4", "3.1.2-5", "3.2.2-2", "3.1.4-3", "4.1.0-1"],
            versions=(V31, V311, V5))
def a_session_is_resumed(t):
    topic = t.topic()
    c = t.persistent().subscribed(topic, topic + "/+", qos=1)
    c.cut()
    publisher = t.connected()
    publisher.publish(topic, b"offline", qos=1)
    publisher.publish(topic + "/a", b"offline", qos=2)
    c = t.persistent(c.client_id)
    if t.version != V31:  # which has no such flag
        equal(c.connack.session_present, True, "Session Present")
    c.take(topic, b"offline", qos=1)
    c.take(topic + "/a", b"offline", qos=1)
    publisher.publish(topic, b"live", qos=1)
    c.take(topic, b"live", qos=1)


@suite.test(v5=["3.1.2-6", "3.2.2-3", "3.1.4-4"], v311=["3.1.2-4", "3.2.2-3"])
def without_a_session_there_is_a_new_one(t):
    c = t.persistent()
    equal(c.connack.session_present, False, "Session Present")
    c.subscribed(t.topic())


@suite.test(v5=["3.1.2-4", "3.2.2-2", "3.1.4-4"], v311=["3.1.2-6", "3.2.2-1", "3.1.4-3"])
def a_clean_start_leaves_nothing(t):
    topic = t.topic()
    publisher = t.connected()
    for is_online in (False, True):  # also when it takes the connection over
        c = t.persistent().subscribed(topic, qos=2)
        c.send(mqtt.publish(t.version, topic + "/x", b"", 2, 9))
        c.expect(mqtt.PUBREC, packet_id=9)
        publisher.publish(topic, b"open", qos=2)
        c.expect_publish(topic, b"open")
        if not is_online:
            c.cut()
            publisher.publish(topic, b"queued", qos=1)
        new = t.persistent(c.client_id, clean=True)
        equal(new.connack.session_present, False, "Session Present")
        publisher.publish(topic, b"later", qos=1)
        new.expect_nothing()
        new.ack(mqtt.PUBREL, 9)
        new.expect(mqtt.PUBCOMP, packet_id=9, reason=0x92 if t.is_v5 else 0)
        new.cut()


@suite.test(v311=["3.1.2-6"])
def a_clean_session_ends_with_its_connection(t):
    topic = t.topic()
    c = t.connected().subscribed(topic, qos=1)
    c.disconnect()
    t.connected().publish(topic, b"x", qos=1)
    c = t.persistent(c.client_id)
    equal(c.connack.session_present, False, "Session Present")
    c.expect_nothing()


@suite.test(v5="S3.1.2.4")
def a_clean_start_with_an_expiry_persists(t):
    topic = t.topic()
    c = t.persistent(clean=True).subscribed(topic, qos=1)
    c.disconnect()
    t.connected().publish(topic, b"x", qos=1)
    c = t.persistent(c.client_id)
    equal(c.connack.session_present, True, "Session Present")
    c.take(topic, b"x")


@suite.test(v5=["4.1.0-2", "3.1.2-23", "S3.1.2.11.2"])
def a_session_ends_when_its_expiry_is_over(t):
    topic = t.topic()
    ends, never, stays = t.persistent(expiry=1), t.connected(), t.persistent(expiry=100)
    forever = t.persistent(expiry=0xffffffff)
    shorter = t.persistent(t.persistent(expiry=600).client_id, expiry=1)
    everybody = [ends, never, stays, forever, shorter]
    for c in everybody:
        c.subscribed(topic, qos=1)
        c.cut()
    surely(1)
    t.connected().publish(topic, b"x", qos=1)
    present = [t.persistent(c.client_id).connack.session_present for c in everybody]
    equal(present, [False, False, True, True, False], "Session Present")


@suite.test(v5="4.1.0-1", v311="4.1.0-2")
def a_session_lives_as_long_as_its_connection(t):
    topic = t.topic()
    c = t.persistent(expiry=1, clean=True) if t.is_v5 else t.connected()
    c.subscribed(topic, qos=1)
    time.sleep(3)
    t.connected().publish(topic, b"x", qos=1)
    c.take(topic, b"x")


@suite.test(v5="S4.5", v311="S4.5")
def qos_0_for_an_offline_session(t):
    # May be kept or dropped; what is QoS 1 comes in any case.
    topic = t.topic()
    c = t.persistent().subscribed(topic, qos=1)
    c.disconnect()
    publisher = t.connected()
    publisher.publish(topic, b"0", qos=0)
    publisher.publish(topic, b"1", qos=1)
    c = t.persistent(c.client_id)
    got = c.take(topic)
    if got.payload == b"0":
        got = c.take(topic)
    equal(got.payload, b"1", "payload")


@suite.test(v5="3.2.2-6", v311="3.2.2-4")
def a_refusal_has_no_session_present(t):
    client_id = t.persistent().client_id
    c = t.client()
    c.send(mqtt.connect(t.version, client_id, clean=False, level=9 if t.is_v5 else 2))
    c.expect_close()  # the decoder insists


@suite.test(v5="4.1.0-1", v311="4.1.0-1")
def a_session_goes_on_in_other_versions(t):
    """What was queued, sent and retained for one version is given to another, with its ids."""
    topic = t.topic()
    everything = {"payload_format": 1, "content_type": "c", "response_topic": "r",
                  "correlation_data": b"d", "user_property": [("a", "b")]}
    c = t.persistent().subscribed(topic, qos=2)
    publisher = t.connected(version=V5)
    publisher.publish(topic, b"sent", qos=2, properties=everything)
    packet_id = c.expect_publish(topic, b"sent").packet_id
    c.cut()
    publisher.publish(topic, b"queued", qos=1, retain=True, properties=everything)
    old = t.connected(version=V31)
    old.publish(topic, b"old", qos=1)
    for version in (V31, V5, V311, V5, V311):
        c = t.persistent(c.client_id, version=version)
        properties = everything if version == V5 else {}
        c.expect_publish(topic, b"sent", qos=2, dup=True, packet_id=packet_id,
                         properties=properties)
        c.expect_publish(topic, b"queued", qos=1, properties=properties)
        c.expect_publish(topic, b"old", qos=1, properties={})
        t.connected(version=version).subscribed(topic).expect_publish(
            topic, b"queued", retain=True, properties=properties)
        c.cut()
    c = t.persistent(c.client_id, version=V5)
    for payload in (b"sent", b"queued", b"old"):
        c.take(topic, payload)
    c.expect_nothing()


# ---- wills ------------------------------------------------------------------------------------


def ways_to_die(t):
    """Endings that publish the will: a name and what to do with the client."""
    def protocol_error(c):
        c.send(mqtt.packet(0, 0, b""))
        c.expect_close()
    ways = {"close": lambda c: c.cut(), "reset": lambda c: c.reset(), "error": protocol_error,
            "take-over": lambda c: t.connected(c.client_id)}
    if t.is_v5:
        for reason in (0x04, 0x80):
            ways[f"disconnect {reason}"] = lambda c, reason=reason: c.disconnect(reason)
    return ways


@suite.test(v5=["3.1.2-7", "3.1.2-8", "3.1.4-3"], v311=["3.1.2-8"], versions=(V31, V311, V5))
def a_will_is_published(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    for name, die in ways_to_die(t).items():
        die(t.connected(will=Will(topic, name)))
        watcher.expect_publish(topic, name, retain=False)
    watcher.expect_nothing()


@suite.test(v5=["3.14.4-3", "3.1.2-8", "3.1.2-10"], v311=["3.14.4-3", "3.1.2-10"],
            versions=(V31, V311, V5))
def a_normal_disconnect_takes_the_will_back(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    t.connected(will=Will(topic, b"will")).disconnect()
    if t.is_v5:
        t.connected(will=Will(topic, b"will")).disconnect(0)
        t.connected(will=Will(topic, b"will")).disconnect(0, {})
    watcher.expect_nothing(0.3)


@suite.test(v5="3.1.2-10", v311=["3.1.2-10", "3.1.2-12"])
def a_published_will_is_gone(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.persistent(will=Will(topic, b"will"))
    c.cut()
    watcher.expect_publish(topic, b"will")
    t.persistent(c.client_id).cut()
    watcher.expect_nothing(0.3)


@suite.test(v5="3.1.2-9", v311="3.1.2-9")
def a_will_has_its_qos(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic, qos=2)
    for qos in (0, 1, 2):
        t.connected(will=Will(topic, b"will", qos)).cut()
        watcher.take(topic, b"will", qos=qos)


@suite.test(v5=["3.1.2-14", "3.1.2-15"], v311=["3.1.2-16", "3.1.2-17"])
def a_will_is_retained_if_it_says_so(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic + "/+", qos=1)
    t.connected(will=Will(topic + "/plain", b"plain", 1)).cut()
    watcher.take(topic + "/plain")
    t.connected(will=Will(topic + "/kept", b"kept", 1, retain=True)).cut()
    watcher.take(topic + "/kept", retain=False)
    late = t.connected().subscribed(topic + "/+", qos=1)
    late.take(topic + "/kept", b"kept", retain=True)
    late.expect_nothing()


@suite.test(v5="S3.1.3.3", v311="S3.1.3.3")
def a_will_payload_may_be_empty_or_large(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    for payload in (b"", bytes(range(256)) * 4, b"x" * 60000):
        t.connected(will=Will(topic, payload)).cut()
        watcher.expect_publish(topic, payload)
    # The largest there is may be above what the server takes as CONNECT.
    c = t.client()
    c.send(mqtt.connect(t.version, c.client_id, will=Will(topic, b"x" * 65535)))
    if c.expect_one_of_or_close(mqtt.CONNACK, 0, 0x95, 0x97) == 0:
        c.cut()
        watcher.expect_publish(topic, b"x" * 65535)


@suite.test(v5=["3.1.2-9", "3.3.2-4"])
def will_properties_are_published(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    properties = {"payload_format": 1, "content_type": "c", "response_topic": "r",
                  "correlation_data": b"\0\1", "user_property": [("a", "1"), ("a", "2")]}
    t.connected(will=Will(topic, b"w", properties={**properties, "message_expiry": 50,
                                                   "will_delay": 0})).cut()
    equal(watcher.expect_publish(topic, b"w").properties, {**properties, "message_expiry": 50},
          "properties")


@suite.test(v5="3.1.2-8")
def a_will_waits_for_its_delay_or_the_end_of_its_session(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic + "/#", qos=1)
    begun, least = {}, {"absent": 0, "session": 0.9, "delay": 1.9}
    for name, delay, expiry in (("delay", 2, 60), ("session", 60, 1), ("absent", 60, None)):
        properties = {} if expiry is None else {"session_expiry": expiry}
        c = t.connected(will=Will(f"{topic}/{name}", b"", properties={"will_delay": delay}),
                        properties=properties)
        begun[name] = time.monotonic()
        c.cut()
    for _ in list(begun):  # in this order, where the machine has the time
        name = watcher.expect_publish().topic.removeprefix(f"{topic}/")
        passed = time.monotonic() - begun.pop(name)
        check(least[name] <= passed <= least[name] + raw.TIMEOUT_S, f"{name} after {passed:.1f} s")


@suite.test(v5=["3.1.3-9", "3.1.2-8"])
def coming_back_in_time_takes_the_will_back(t):
    topic = t.topic()
    for delay in (1, 4, 16):  # until we have been in time
        watcher = t.connected().subscribed(topic)
        will = Will(topic, b"will", properties={"will_delay": delay})
        c = t.persistent(will=will)
        begun = time.monotonic()
        c.cut()
        time.sleep(0.3)
        c = t.persistent(c.client_id)
        if time.monotonic() - begun < 0.8 * delay:
            break
    t.persistent(c.client_id, will=will)
    t.persistent(c.client_id)  # a take-over counts as coming back, too
    surely(delay)
    watcher.expect_nothing()


@suite.test(v5=["3.1.3-9", "3.1.2-8"])
def a_clean_start_ends_the_session_and_publishes_its_will(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.persistent(will=Will(topic, b"will", properties={"will_delay": 60}))
    c.cut()
    t.connected(c.client_id)
    watcher.expect_publish(topic, b"will")
    watcher.expect_nothing()


@suite.test(v5="3.3.2-5")
def a_will_may_expire(t):
    # The span begins when the will is published; 0 is over at once.
    topic = t.topic()
    offline = t.persistent().subscribed(topic, qos=1)
    offline.disconnect()
    for expiry in (0, 1, 50):
        t.connected(will=Will(topic, str(expiry), 1, properties={"message_expiry": expiry})).cut()
    surely(1)
    c = t.persistent(offline.client_id)
    c.take(topic, b"50")
    c.expect_nothing()


@suite.test(v5=["3.1.2-8"])
def the_will_of_a_resumed_connection_is_the_new_one(t):
    topic = t.topic()
    watcher = t.connected().subscribed(topic)
    client_id = unique()
    for payload in (b"1", b"2", b"3"):
        t.persistent(client_id, will=Will(topic, payload))
    t.persistent(client_id).disconnect()
    for payload in (b"1", b"2", b"3"):
        watcher.expect_publish(topic, payload)  # each take-over publishes the old one's
    watcher.expect_nothing()


if __name__ == "__main__":
    suite.main()
