#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Authentication: AUTH, SCRAM-SHA-256, who may come in at all: 3.1.4, 3.15, 4.12."""

import base64
import time

import packets as mqtt
import scram
from client import unique
from packets import V5, V31, V311, Will
from suite import Suite, check, equal, patient

TIMEOUT_S = 6

suite = Suite("auth", settings={
    "auth.anonymous": "false",
    "auth.scram.alice": scram.verifier("open sesame"),
    "auth.scram.bob": scram.verifier("builder", salt=b"another one here", iterations=5000),
    "auth.scram.a,b c": scram.verifier("comma"),
    "mqtt.connect_timeout": f"{TIMEOUT_S}s",
    "mqtt.connect_size_max": "64KiB",
})


def alice(password="open sesame", **options):
    return scram.Scram("alice", password, **options)


def fields(data, method=scram.METHOD):
    return {"authentication_method": method, "authentication_data": data}


def begin(t, exchange, client_id=None, properties=None, **options):
    """Sends CONNECT with client first; nothing is waited for."""
    t.node()
    c = t.client(client_id)
    c.send(mqtt.connect(V5, c.client_id, properties={**fields(exchange.first()),
                                                     **(properties or {})}, **options))
    return c


def challenged(t, exchange, **options):
    """As begin(), and AUTH has come: the client and client final."""
    c = begin(t, exchange, **options)
    auth = c.expect(mqtt.AUTH, reason=0x18)
    equal(auth.properties["authentication_method"], scram.METHOD, "method in AUTH")
    return c, exchange.final(auth.properties["authentication_data"])


def answer(c, data, reason=0x18, method=scram.METHOD):
    c.send(mqtt.auth(reason, fields(data, method)))


def logged_in(t, exchange=None, **options):
    """A client that has had its CONNACK, in `connack`."""
    exchange = exchange or alice()
    c, final = challenged(t, exchange, **options)
    answer(c, final)
    c.connack = c.expect(mqtt.CONNACK, reason=0)
    equal(c.connack.properties["authentication_method"], scram.METHOD, "method in CONNACK")
    exchange.check(c.connack.properties["authentication_data"])
    return c


def again(c, exchange):
    """Begins a re-authentication: client final."""
    answer(c, exchange.first(), 0x19)
    auth = c.expect_among_messages(mqtt.AUTH, reason=0x18)
    return exchange.final(auth.properties["authentication_data"])


# ---- who may come in --------------------------------------------------------------------------


@suite.test(v5=["4.12.0-2", "4.12.0-5", "3.15.2-1"])
def a_client_and_the_server_prove_themselves(t):
    for exchange in (alice(), scram.Scram("bob", "builder"), scram.Scram("a,b c", "comma")):
        logged_in(t, exchange).ping()
    y = alice()
    y.header = "y,,"  # a client that could bind the channel, if we could
    logged_in(t, y).disconnect()


@suite.test(v5=["3.15.2-2", "3.15.2-3"])
def auth_has_no_reason_string_and_no_user_properties(t):
    exchange = alice()
    # Room for what is needed and not for more.
    c = begin(t, exchange, properties={"maximum_packet_size": 250})
    auth = c.expect(mqtt.AUTH, reason=0x18)
    equal(set(auth.properties), {"authentication_method", "authentication_data"}, "properties")
    answer(c, exchange.final(auth.properties["authentication_data"]))
    c.expect(mqtt.CONNACK, reason=0)


@suite.test(v5=["3.1.2-24", "4.12.0-4"])
def who_takes_no_auth_cannot_log_in(t):
    c = begin(t, alice(), properties={"maximum_packet_size": 40})
    c.expect_close(0x95)
    equal([p.kind for p in c.got if p.kind == mqtt.AUTH], [], "AUTH")


@suite.test(v5=["3.1.4-2", "3.2.2-7"], versions=(V31, V311, V5))
def nobody_comes_in_without_a_login(t):
    t.node()
    for options, v5, v3 in (({}, 0x87, 5), ({"username": "alice"}, 0x86, 4)):
        c = t.client()
        c.send(mqtt.connect(t.version, c.client_id, **options))
        equal(c.expect_close(), v5 if t.is_v5 else v3, "reason")


@suite.test(v5=["3.1.4-2", "3.1.2-17", "3.1.2-19"], v311=["3.1.2-19", "3.1.2-21"],
            versions=(V31, V311, V5))
def a_password_in_connect_is_checked(t):
    t.node()
    for user, password in (("alice", "open sesame"), ("a,b c", "comma"), ("alice", "open sesame")):
        topic = t.topic()
        c = t.client()
        # Before CONNACK comes a client may go on: what it sends waits.
        c.send(mqtt.connect(t.version, c.client_id, username=user, password=password)
               + mqtt.subscribe(t.version, 1, [(topic, 0)]) + mqtt.publish(t.version, topic, b"x"))
        connack = c.expect(mqtt.CONNACK, reason=0)
        check("authentication_method" not in connack.properties, "[MQTT-4.12.0-6]")
        c.expect_among_messages(mqtt.SUBACK)
        c.expect_publish(topic, b"x")
    for user, password in (("alice", "open sesam"), ("alice", ""), ("bob", "open sesame"),
                           ("mallory", "x"), ("", "open sesame"), ("alice", "open sesame\0"),
                           ("alice", "x" * 60000), ("x" * 60000, "open sesame")):
        c = t.client()
        c.send(mqtt.connect(t.version, c.client_id, username=user, password=password)
               + mqtt.pingreq())
        equal(c.expect_close(), 0x86 if t.is_v5 else 4, f"refusal of {user[:20]!r}")


@suite.test(v5=["4.12.0-7", "4.12.0-6"])
def who_logged_in_with_a_password_has_no_method(t):
    t.node()
    for method in (scram.METHOD, ""):
        c = t.connected(username="alice", password="open sesame")
        answer(c, alice().first(), 0x19, method)
        equal(c.expect_close(0x82), 0x82, "reason")


@suite.test(v5="S3.1.2.9")
def a_password_without_a_name_is_wrong(t):
    t.node()
    c = t.client()
    c.send(mqtt.connect(V5, c.client_id, password="open sesame"))
    equal(c.expect_close(), 0x86, "reason")


@suite.test(v5=["4.12.0-4", "3.1.4-2", "4.13.2-1"])
def who_does_not_know_the_password_stays_outside(t):
    for exchange in (alice("open sesam"), alice(""), scram.Scram("mallory", "open sesame"),
                     scram.Scram("Alice", "open sesame"), scram.Scram("bob", "open sesame")):
        c, final = challenged(t, exchange)
        answer(c, final)
        equal(c.expect_close(0x87), 0x87, "reason")


@suite.test(v5="4.12.0-4")
def strangers_are_asked_like_everybody(t):
    def asked(user):
        exchange = scram.Scram(user, "x")
        challenged(t, exchange)
        return dict(item.split("=", 1) for item in exchange.challenge.split(","))
    one, same, other, known = (asked(user) for user in ("zoe", "zoe", "yves", "alice"))
    equal(one["s"], same["s"], "the salt of the same stranger")
    check(one["s"] != other["s"], "the salt of another stranger is another one")
    equal((len(one["s"]), one["i"]), (len(known["s"]), known["i"]), "size of salt and iterations")
    check(one["r"] != same["r"], "a nonce came twice")


@suite.test(v5="4.12.0-4")
def a_recorded_login_is_worth_nothing(t):
    exchange = alice(nonce="recorded")
    c, final = challenged(t, exchange)
    answer(c, final)
    c.expect(mqtt.CONNACK, reason=0)
    c, _ = challenged(t, alice(nonce="recorded"))
    answer(c, final)
    c.expect_close(0x87)


@suite.test(v5="4.12.0-4")
def lies_in_the_final_message_are_refused(t):
    def lie(**changed):
        exchange = alice()
        vars(exchange).update(changed)
        return exchange
    for exchange in (lie(final_nonce="x"), lie(final_nonce="recorded" * 10), lie(binding="y,,"),
                     lie(binding="p=tls-unique,,"), lie(binding="n,,more")):
        c, final = challenged(t, exchange)
        answer(c, final)
        c.expect_close(0x87)
    for broken in (lambda m: b"", lambda m: m[:-1], lambda m: m[:20], lambda m: m + b"=",
                   lambda m: m + b",x=y", lambda m: m.replace(b",p=", b",q="),
                   lambda m: m.replace(b"c=", b"d="), lambda m: b"x" * 2000,
                   lambda m: m.split(b",p=")[0], lambda m: m.split(b",p=")[0] + b",p=!!!!",
                   lambda m: m.split(b",p=")[0] + b",p=" + base64.b64encode(b"\0" * 31),
                   lambda m: m.split(b",p=")[0] + b",p=" + base64.b64encode(b"\0" * 33),
                   lambda m: m.split(b",p=")[0] + b",p=" + base64.b64encode(b"\0" * 32)):
        c, final = challenged(t, alice())
        answer(c, broken(final))
        c.expect_close(0x87)


@suite.test(v5="4.12.0-4")
def first_messages_that_are_none_are_refused(t):
    t.node()
    for first in (b"", b"n", b"n,", b"n,,", b"n,,n=alice", b"n,,r=abc", b"n,,n=,r=abc",
                  b"n,,n=alice,r=", b"n,,n=al=20ice,r=abc", b"n,,n=alice=,r=abc",
                  b"x,,n=alice,r=abc", b"p=tls-unique,,n=alice,r=abc", b"n,a=bob,n=alice,r=abc",
                  b"n,,m=1,n=alice,r=abc", b"n,,n=alice,r=a c", b"n,,n=alice,r=abc,",
                  b"n,,n=alice,r=abc,1=2", b"n,,n=\xff\xfe,r=abc", b"n,,n=a\0b,r=abc",
                  b"n,,n=" + b"a" * 256 + b",r=abc", b"n,,n=alice,r=" + b"x" * 1020):
        c = t.client()
        c.send(mqtt.connect(V5, c.client_id, properties=fields(first)))
        equal(c.expect_close(0x87), 0x87, f"reason for {first[:40]!r}")
    c = t.client()
    c.send(mqtt.connect(V5, c.client_id, properties={"authentication_method": scram.METHOD}))
    c.expect_close(0x87)


@suite.test(v5=["4.12.0-1", "3.2.2-7"])
def another_method_is_refused(t):
    t.node()
    for method in ("SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN", "", "x" * 60000):
        c = t.client()
        c.send(mqtt.connect(V5, c.client_id, properties=fields(alice().first(), method)))
        told = c.expect_close(0x8c, 0x95)
        equal(told, 0x95 if len(method) > 100 else 0x8c, "reason")


# ---- between CONNECT and CONNACK --------------------------------------------------------------


@suite.test(v5="3.1.4-6")
def only_auth_and_disconnect_come_before_connack(t):
    # Section 3.1.2.11.9; what else comes ends the exchange, and has no effect.
    topic = t.topic()
    watcher = logged_in(t).subscribed(topic)
    for packet in (mqtt.publish(V5, topic, b"x"), mqtt.subscribe(V5, 1, [("a", 0)]),
                   mqtt.pingreq(), mqtt.ack(V5, mqtt.PUBACK, 1), mqtt.unsubscribe(V5, 1, ["a"]),
                   mqtt.connect(V5, unique(), properties=fields(alice().first())),
                   mqtt.packet(mqtt.AUTH, 1, b""), mqtt.packet(mqtt.PUBLISH, 0, b"x" * 5000)):
        c, final = challenged(t, alice())
        c.send(packet + mqtt.auth(0x18, fields(final)))
        told = c.expect_close(0x82, 0x81, 0x95)
        check(told is not None, "[MQTT-4.13.2-1] before CONNACK that is the packet to refuse with")
        equal([p.kind for p in c.got if p.kind == mqtt.DISCONNECT], [], "[MQTT-3.14.0-1] before")
    c, _ = challenged(t, alice())
    c.send(mqtt.disconnect(V5))
    equal(c.expect_close(), None, "an answer to DISCONNECT")
    watcher.expect_nothing()


@suite.test(v5=["4.12.0-2", "3.15.1-1"])
def auth_that_does_not_belong_there_is_refused(t):
    for wrong in (lambda m: mqtt.auth(0x19, fields(m)), lambda m: mqtt.auth(0x00, fields(m)),
                  lambda m: mqtt.auth(0x18, fields(m, "SCRAM-SHA-1")),
                  lambda m: mqtt.auth(0x18, {"authentication_data": m}),
                  lambda m: mqtt.auth(0x18), lambda m: mqtt.packet(mqtt.AUTH, 0, b""),
                  lambda m: mqtt.auth(0x77, fields(m)),
                  lambda m: mqtt.auth(0x18, mqtt.props(authentication_method=[scram.METHOD] * 2,
                                                       authentication_data=m))):
        c, final = challenged(t, alice())
        c.send(wrong(final))
        check(c.expect_close(0x82, 0x81) is not None, "refused with a CONNACK")


@suite.test(v5=["3.1.4-3", "3.1.4-2"])
def a_session_is_taken_over_by_a_login_only(t):
    first = logged_in(t, client_id=unique())
    c, final = challenged(t, alice("wrong"), client_id=first.client_id)
    first.ping()
    answer(c, final)
    c.expect_close(0x87)
    first.ping()
    logged_in(t, client_id=first.client_id)
    first.expect_close(0x8e)


@suite.test(v5=["3.1.3-1", "3.1.2-4", "S3.1.2.4"])
def what_connect_said_holds_after_the_exchange(t):
    topic = t.topic()
    watcher = logged_in(t).subscribed(topic)
    c = logged_in(t, client_id="", will=Will(topic, b"bye" * 500), properties={
        "session_expiry": 300, "receive_maximum": 1}, clean=False)
    check("assigned_client_id" in c.connack.properties, "an assigned client id")
    c.subscribed(topic + "/x", qos=1)
    for _ in range(2):
        watcher.publish(topic + "/x", b"one", qos=1)
    c.expect_publish(topic + "/x", b"one")
    c.expect_nothing()  # the window is 1
    c.cut()
    watcher.expect_publish(topic, b"bye" * 500)
    client_id = c.connack.properties["assigned_client_id"]
    c = logged_in(t, client_id=client_id, properties={"session_expiry": 300}, clean=False)
    check(c.connack.session_present, "the session was kept")


@suite.test(v5="4.12.0-4")
def little_is_kept_for_who_is_not_known_yet(t):
    c = begin(t, alice(), will=Will("t", b"x" * 9000))
    equal(c.expect_close(0x95), 0x95, "reason for a CONNECT of 9 KB")


@suite.test(v5=["4.12.0-2", "4.12.0-5"])
def an_exchange_may_come_byte_by_byte(t):
    exchange = alice()
    c = t.client()
    t.node()
    for byte in mqtt.connect(V5, c.client_id, properties=fields(exchange.first())):
        c.send(bytes([byte]))
    final = exchange.final(c.expect(mqtt.AUTH).properties["authentication_data"])
    for byte in mqtt.auth(0x18, fields(final)) + mqtt.pingreq():
        c.send(bytes([byte]))
    c.expect(mqtt.CONNACK, reason=0)
    c.expect(mqtt.PINGRESP)


@suite.test(v5="4.12.0-4")
def an_exchange_has_no_longer_than_a_connect(t):
    begun = time.monotonic()
    exchange = alice()
    c = t.client()
    t.node()
    time.sleep(TIMEOUT_S / 2)
    c.send(mqtt.connect(V5, c.client_id, properties=fields(exchange.first())))
    c.expect(mqtt.AUTH)
    c.expect_close(timeout_s=TIMEOUT_S)
    # Half of it is gone when CONNECT comes; where its home is another shard, it begins anew there.
    check(time.monotonic() - begun < patient(1.5 * TIMEOUT_S + 1.5), "closed in time")


# ---- on a connection that lives ---------------------------------------------------------------


@suite.test(v5=["4.12.1-1", "4.12.0-5"])
def a_client_shows_again_who_it_is_and_goes_on_meanwhile(t):
    topic = t.topic()
    c = logged_in(t).subscribed(topic)
    for _ in range(3):
        exchange = alice()
        final = again(c, exchange)
        c.send(mqtt.publish(V5, topic, b"meanwhile"))
        c.expect_publish(topic, b"meanwhile")
        c.ping()
        answer(c, final)
        auth = c.expect(mqtt.AUTH, reason=0)
        equal(auth.properties["authentication_method"], scram.METHOD, "method in AUTH")
        exchange.check(auth.properties["authentication_data"])
        c.send(mqtt.publish(V5, topic, b"after"))
        c.expect_publish(topic, b"after")


@suite.test(v5="4.12.1-2")
def who_fails_to_show_it_again_is_closed(t):
    topic = t.topic()
    watcher = logged_in(t).subscribed(topic)
    for exchange in (alice("forgotten"), scram.Scram("bob", "builder"), scram.Scram("eve", "x")):
        c = logged_in(t, will=Will(topic, b"gone"))
        answer(c, again(c, exchange))
        equal(c.expect_close(0x87), 0x87, "reason")
        watcher.expect_publish(topic, b"gone")
    c = logged_in(t)
    answer(c, b"n,,n=alice", 0x19)
    c.expect_close(0x87)


@suite.test(v5=["4.12.1-1", "4.12.0-7", "3.15.1-1"])
def auth_that_does_not_belong_on_a_connection_ends_it(t):
    first = alice().first()
    for wrong in (mqtt.auth(0x18, fields(first)), mqtt.auth(0x00, fields(first)),
                  mqtt.auth(0x19, fields(first, "SCRAM-SHA-1")), mqtt.auth(0x19, fields(first, "")),
                  mqtt.auth(0x19, {"authentication_data": first}), mqtt.auth(0x19),
                  mqtt.packet(mqtt.AUTH, 0, b""), mqtt.packet(mqtt.AUTH, 8, b"\x19\0")):
        c = logged_in(t)
        c.send(wrong)
        check(c.expect_close(0x82, 0x81) is not None, "told why")
    c = logged_in(t)
    again(c, alice())
    answer(c, first, 0x19)  # while one is under way
    c.expect_close(0x82)
    c = logged_in(t)
    final = again(c, alice())
    answer(c, final, method="SCRAM-SHA-512")
    c.expect_close(0x82)
    c = logged_in(t)
    answer(c, again(c, alice()))
    c.expect(mqtt.AUTH, reason=0)
    answer(c, b"once more")  # nothing is under way
    c.expect_close(0x82)


@suite.test(v5="4.12.1-2")
def who_does_not_go_on_showing_it_is_closed(t):
    c = logged_in(t)
    begun = time.monotonic()
    again(c, alice())
    c.ping()
    equal(c.expect_close(0x87, timeout_s=patient(TIMEOUT_S + 3)), 0x87, "reason")
    check(time.monotonic() - begun > TIMEOUT_S - 1, "it had time")


if __name__ == "__main__":
    suite.main()
