#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Topic names, filters and strings: sections 1.5.3/1.5.4 and 4.7."""

import packets as mqtt
from packets import V31, V311, V5
from suite import Suite, check, equal

suite = Suite("topics")

# filter, topics it matches, topics it does not; all below a topic of the test
MATCHES = [
    ("a", ["a"], ["A", "a/", "/a", "a/b", "aa", " a", "b"]),
    ("a/b", ["a/b"], ["a", "a/b/", "a//b", "a/b/c"]),
    ("a/", ["a/"], ["a", "a//", "a/b"]),
    ("+", ["a", "b", "", " "], ["a/b", "a/", "/"]),
    ("+/+", ["a/b", "/", "a/", "/b"], ["a", "a/b/c"]),
    ("a/+", ["a/b", "a/", "a/+".replace("+", "x y")], ["a", "a/b/c", "b/a"]),
    ("+/b", ["a/b", "/b"], ["b", "a/b/c"]),
    ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/d", "a/b/b/c"]),
    ("a/#", ["a", "a/", "a/b", "a/b/c", "a//"], ["aa", "b", "ab/c"]),
    ("#", ["a", "a/b", "", "/", "a/b/c/d/e"], []),
    ("+/#", ["a", "a/b", "", "/"], []),
    ("a/+/#", ["a/b", "a/b/c", "a/"], ["a", "b/b"]),
    ("+/b/#", ["a/b", "a/b/c", "/b"], ["b", "a/c"]),
    ("a/b/+/+/#", ["a/b/c/d", "a/b///", "a/b/c/d/e/f"], ["a/b/c", "a/b"]),
    ("", [""], ["a", "/"]),
    ("/", ["/"], ["", "//", "a/"]),
    ("$x", ["$x"], ["x"]),
]


@suite.test(v5=["3.3.2-3", "4.7.1-1", "4.7.1-2", "4.7.0-1"],
            v311=["3.3.2-3", "4.7.1-2", "4.7.1-3"], versions=(V31, V311, V5))
def filters_match(t):
    publisher = t.connected()
    for number, (text, good, bad) in enumerate(MATCHES):
        topic = t.topic()
        c = t.connected().subscribed(f"{topic}/{text}", topic + "!end")
        for level in bad + good:
            publisher.publish(f"{topic}/{level}", str(number))
        publisher.publish(topic + "!end", b"end")
        got = []
        while (packet := c.expect_publish()).payload != b"end":
            got.append(packet.topic[len(topic) + 1:])
        equal(got, good, f"topics for {text!r}")
        c.cut()


@suite.test(v5=["4.7.1-1", "4.7.1-2"], v311=["4.7.1-2", "4.7.1-3"])
def misplaced_wildcards_are_not_granted(t):
    # Closing the connection would do, too.
    for text in ("a/#/b", "a#", "#/#", "#/a", "a+", "+a", "++", "a/+b", "a/b+/c", "a#b", "+#",
                 "/#/", "a/##"):
        code = t.code_for(text)
        check(code is None or code >= 0x80, f"{text} was granted")


@suite.test(v5="4.7.3-1", v311="4.7.3-1")
def an_empty_filter_is_not_granted(t):
    code = t.code_for("")
    check(code is None or code >= 0x80, "granted")


@suite.test(v5="4.7.2-1", v311="4.7.2-1")
def wildcards_first_do_not_match_dollar_topics(t):
    c = t.connected().subscribed("#", "+/+", "+/#", "+", "/#", qos=0)
    level = t.topic()
    publisher = t.connected()
    for topic in ("$" + level, f"$x/{level}", f"$SYS/{level}", "$"):
        publisher.publish(topic, b"hidden")
    publisher.ping()
    publisher.publish(level, b"seen", qos=1)
    while (packet := c.expect_publish()).payload != b"seen":
        check(not packet.topic.startswith("$"), f"{packet.topic} was matched")


@suite.test(v5="S4.7.2", v311="S4.7.2")
def a_dollar_level_written_out_matches(t):
    level = t.topic()
    c = t.connected().subscribed(f"$wire/{level}/+", f"$wire/{level}/x/#")
    t.connected().publish(f"$wire/{level}/x", b"x")
    c.expect_publish(f"$wire/{level}/x")


@suite.test(v5="4.7.2-1", v311="3.3.5-2")
def sys_topics_are_not_for_clients(t):
    topic = "$SYS/" + t.topic()
    watcher = t.connected().subscribed(topic)
    c = t.connected()
    c.send(mqtt.publish(t.version, topic, b"x", 1, 1, retain=True))
    # Whatever the answer is: the message goes nowhere (mosquitto lets it through).
    t.node()
    check(c.expect(mqtt.PUBACK).reason == (0x87 if t.is_v5 else 0), "Not authorized, if it can say")
    watcher.expect_nothing()


@suite.test(v5="4.7.3-4", v311="4.7.3-4")
def nothing_is_normalised(t):
    names = ["e\u0301", "\u00e9", "E\u0301", " e", "e ", "\u212b", "\u00c5", "A\u030a", "/", "//",
             "e/", "\ufb01", "fi"]
    topic = t.topic()
    c = t.connected()
    watchers = [t.connected().subscribed(f"{topic}/{name}") for name in names]
    for number, name in enumerate(names):
        c.publish(f"{topic}/{name}", str(number), qos=1)
    for number, (name, watcher) in enumerate(zip(names, watchers)):
        watcher.expect_publish(f"{topic}/{name}", str(number))
    for watcher in watchers:
        watcher.expect_nothing(0.02)


@suite.test(v5="1.5.4-3", v311="1.5.3-3")
def the_byte_order_mark_stays(t):
    topic = t.topic()
    with_mark, without = t.connected().subscribed("\ufeff" + topic), t.connected().subscribed(topic)
    t.connected().publish("\ufeff" + topic, b"x", qos=1)
    equal(mqtt.as_bytes(with_mark.expect_publish().topic)[:3], b"\xef\xbb\xbf", "first bytes")
    without.expect_nothing()


@suite.test(v5="S1.5.4", v311="S1.5.3")
def discouraged_characters_pass_or_close(t):
    for character in ("\u0001", "\u001f", "\u007f", "\u0085", "\ufdd0", "\ufffe", "\uffff",
                      "\U0001ffff", "\U0010ffff"):
        topic = t.topic(character)
        c = t.connected()
        c.send(mqtt.subscribe(t.version, 1, [(topic, 0)]))
        try:
            packet = c.receive()
            if packet.kind != mqtt.SUBACK or packet.codes[0] > 2:
                continue
            c.publish(topic, b"x")
            c.expect_publish(topic, b"x")
        except AssertionError:
            c.expect_close()


@suite.test(v5="4.7.3-3", v311="4.7.3-3")
def the_longest_topic(t):
    topic = (t.topic() + "/").ljust(65535, "x")
    c = t.connected().subscribed(topic, topic.rstrip("x") + "+")
    c.publish(topic, b"payload")
    c.expect_publish(topic, b"payload")


@suite.test(v5="S4.7.3", v311="S4.7.3")
def many_levels_pass_or_are_refused(t):
    base = t.topic()
    for levels in (20, 100, 128, 200, 32000):
        topic = base + "/x" * (levels - 1)
        if t.code_for(topic) is None:
            check(levels > 100, f"{levels} levels close the connection")
            continue
        c = t.connected()
        suback = c.subscribe(topic, base + "/#")
        c.send(mqtt.publish(t.version, topic, b"x", 1, 1))
        packets = [c.receive()]
        if suback.codes[0] <= 2:
            while len(packets) < 2 or packets[-1] is None:
                packets.append(c.receive())
            got = [p for p in packets if p.kind == mqtt.PUBLISH]
            check(got and got[0].topic == topic, f"{levels} levels: {packets}")
        else:
            check(levels > 100, f"{levels} levels were refused")
            check(not t.is_v5 or packets[0].reason == 0x90, f"{packets}")
        c.cut()


@suite.test(v5="S4.7.3", v311="S4.7.3")
def all_of_unicode(t):
    topic = t.topic("äöü", "日本語", "\U0001f347\U0001f377", "\u200d", "a b")
    c = t.connected().subscribed(topic)
    c.publish(topic, b"x")
    c.expect_publish(topic, b"x")


if __name__ == "__main__":
    suite.main()
