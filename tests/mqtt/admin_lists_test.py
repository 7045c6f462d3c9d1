#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator sees and does over HTTP: clients, subscriptions, messages, routes."""

import base64
import json
import pathlib
import socket
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
import scram
from client import Client
from harness import Cluster, Node, at_end, case, check, check_equal, main, patient, wait_for
from packets import V5, V31, V311, Will


def joined(node, client_id=None, version=V5, expiry=None, **options):
    """Stays until the case ends, or the test ends it."""
    client = Client(("127.0.0.1", node.port), version, client_id)
    at_end(client.cut)
    if expiry is not None:
        options.update(clean=False, properties={"session_expiry": expiry})
    client.connect(**options)
    return client


def quoted(text):
    return urllib.parse.quote(text, safe="")


def asked(node, path, method="GET", body=None):
    """(status, JSON or None)."""
    status, answer = node.http(path, method, body, seconds=patient(10))
    return status, json.loads(answer) if answer else None


def clients(node, **parameters):
    return node.api("/api/v1/clients?" + urllib.parse.urlencode(parameters))


def ids(answer):
    return sorted(entry["clientid"] for entry in answer["data"])


def by_cursor(node, path, limit, **parameters):
    """All rows, as a program that follows meta.cursor gets them; and how many answers it took."""
    rows, answers, more = [], 0, {}
    while True:
        query = urllib.parse.urlencode({**parameters, **more, "limit": limit})
        answer = node.api(f"{path}?{query}")
        check(len(answer["data"]) <= limit, "no more than were asked for")
        rows += answer["data"]
        answers += 1
        if not answer["meta"]["hasnext"]:
            return rows, answers
        check_equal(len(answer["data"]), limit, "rows of an answer that is not the last one")
        more = {"cursor": answer["meta"]["cursor"]}


def refused(node, path, part, status=400, method="GET", body=None, code="BAD_REQUEST"):
    got, answer = asked(node, path, method, body)
    check_equal(got, status, f"{method} {path}")
    check_equal(answer["code"], code, f"{method} {path}")
    check(part in answer["message"], f"{method} {path}: {part!r} is not in {answer['message']!r}")


# ---- clients ------------------------------------------------------------------------------------


@case
def a_client_is_shown_as_it_is():
    node = Node("vine1").start()
    client = joined(node, "a/b c", keep_alive=77, expiry=300,
                    will=Will("w", b"gone", 0)).subscribed("x/1", "x/2", "$share/g/x")
    entry = node.api("/api/v1/clients/" + quoted("a/b c"))
    port = client.socket.getsockname()[1]
    for key, value in {"clientid": "a/b c", "node": "vine1", "connected": True, "username": None,
                       "proto_name": "MQTT", "proto_ver": 5, "ip_address": "127.0.0.1",
                       "port": port, "listener_port": node.port, "keepalive": 77,
                       "expiry_interval": 300, "disconnected_at": None, "subscriptions_cnt": 3,
                       "mqueue_len": 0, "inflight_cnt": 0, "awaiting_rel_cnt": 0,
                       "has_will": True}.items():
        check_equal(entry[key], value, key)
    check_equal(clients(node)["data"], [entry], "the list has the same")
    old = joined(node, "old", V31)
    check_equal(node.api("/api/v1/clients/old")["proto_ver"], 3, "3.1")
    check_equal(node.api("/api/v1/clients/old")["expiry_interval"], 0, "a clean session")
    old.disconnect()
    wait_for(lambda: asked(node, "/api/v1/clients/old")[0] == 404, patient(5), "it is gone")


@case
def what_waits_for_a_client_is_counted_online_and_offline():
    node = Node().start()
    with joined(node, "away", expiry=1000) as away:
        away.subscribed("q/#", qos=2)
    wait_for(lambda: not node.api("/api/v1/clients/away")["connected"], patient(5), "it is away")
    publisher = joined(node)
    for i in range(5):
        publisher.publish("q/1", str(i), 1)
    entry = node.api("/api/v1/clients/away")
    check_equal((entry["mqueue_len"], entry["inflight_cnt"]), (5, 0), "waiting, in flight")
    check_equal([entry[key] for key in ("ip_address", "port", "proto_ver", "keepalive")],
                [None] * 4, "what is known of a client that is away")
    check(entry["disconnected_at"].startswith("20") and entry["disconnected_at"].endswith("Z"),
          entry["disconnected_at"])
    back = joined(node, "away", expiry=1000)
    first = back.expect_publish("q/1", "0")
    entry = wait_for(lambda: one_if(node, "away", inflight_cnt=5), patient(5), "all are in flight")
    check_equal((entry["mqueue_len"], entry["connected"]), (0, True), "waiting, connected")
    back.acknowledge(first)
    wait_for(lambda: one_if(node, "away", inflight_cnt=4), patient(5), "one is acknowledged")
    packet_id = publisher.next_id()
    publisher.send(mqtt.publish(V5, "other", b"", 2, packet_id))
    publisher.expect(mqtt.PUBREC, packet_id=packet_id)
    check_equal(node.api(f"/api/v1/clients/{publisher.client_id}")["awaiting_rel_cnt"], 1, "QoS 2")


def one_if(node, client_id, **fields):
    entry = node.api("/api/v1/clients/" + quoted(client_id))
    return entry if all(entry[key] == value for key, value in fields.items()) else None


@case
def clients_are_found_by_what_they_are():
    node = Node().start()
    for i in range(6):
        joined(node, f"plant{i}/sensor", expiry=60 if i % 2 else None)
    with joined(node, "gone", V311, clean=False):
        pass
    wait_for(lambda: ids(clients(node, conn_state="disconnected")) == ["gone"], patient(5), "away")
    check_equal(len(clients(node, conn_state="connected")["data"]), 6, "connected")
    check_equal(ids(clients(node, like_clientid="t3/se")), ["plant3/sensor"], "a part of the id")
    check_equal(ids(clients(node, clientid="plant4/sensor")), ["plant4/sensor"], "the id")
    check_equal(ids(clients(node, clientid="plant4")), [], "another id")
    check_equal(ids(clients(node, clientid="gone", conn_state="connected")), [], "both")
    check_equal(ids(clients(node, username="alice")), [], "a name nobody has shown")
    check_equal(clients(node)["meta"]["count"], 7, "how many there are")
    check("count" not in clients(node, like_clientid="plant")["meta"], "nobody has counted these")


@case
def a_user_is_found_by_the_name_he_has_shown():
    node = Node(settings={"auth.anonymous": "false",
                          "auth.scram.alice": scram.verifier("secret")}).start()
    joined(node, "hers", username="alice", password="secret", expiry=60)
    check_equal(ids(clients(node, username="alice")), ["hers"], "by name")
    check_equal(ids(clients(node, username="bob")), [], "by another name")
    check_equal(node.api("/api/v1/clients/hers")["username"], "alice", "the name")


@case
def pages_and_cursors_have_everybody_once():
    node = Node(settings={"node.shards": 3}).start()
    there = [joined(node, f"c{i:03}") for i in range(250)]
    everybody = sorted(client.client_id for client in there)
    check_equal(len(clients(node)["data"]), 100, "a page that nobody has sized")
    pages = [clients(node, limit=60, page=page) for page in range(1, 7)]
    check_equal([len(page["data"]) for page in pages], [60, 60, 60, 60, 10, 0], "sizes")
    check_equal([page["meta"]["hasnext"] for page in pages], [True] * 4 + [False] * 2, "hasnext")
    check_equal([page["meta"]["page"] for page in pages], list(range(1, 7)), "their numbers")
    check_equal(sorted(sum(map(ids, pages), [])), everybody, "all pages together")
    for limit in (1, 7, 250):
        rows, answers = by_cursor(node, "/api/v1/clients", limit)
        check_equal(sorted(row["clientid"] for row in rows), everybody, f"by cursor, {limit}")
        check_equal(answers, -(-250 // limit), "answers")
    rows, _ = by_cursor(node, "/api/v1/clients", 3, like_clientid="c00")
    check_equal(len(rows), 10, "by cursor, of those that match")
    check_equal(len(clients(node, limit=10000)["data"]), 250, "all at once")


@case
def who_is_there_all_the_time_is_listed_while_others_come_and_go():
    node = Node().start()
    staying = {joined(node, f"stays{i}").client_id for i in range(300)}
    for _ in range(20):
        passing = [joined(node, f"passes{i}") for i in range(5)]
        found = ids(clients(node, limit=10000))
        check(staying <= set(found), "nobody is missed")
        check(len(found) <= 305 + 5, f"{len(found)} are listed")
        for client in passing:
            client.cut()


# ---- kicking ------------------------------------------------------------------------------------


def kick(node, client_id, **parameters):
    query = urllib.parse.urlencode({"clientid": client_id, **parameters})
    return asked(node, f"/api/v1/kick?{query}", "POST")


@case
def a_kicked_client_is_told_and_its_session_and_will_are_over():
    node = Node("vine1").start()
    watcher = joined(node).subscribed("will/#")
    client = joined(node, "a/b", expiry=1000,
                    will=Will("will/a", b"gone", 0, properties={"will_delay": 500}))
    client.subscribed("x", qos=1)
    status, answer = kick(node, "a/b")
    check_equal((status, answer), (200, {"clientid": "a/b", "node": "vine1", "was_connected": True,
                                         "keep_session": False}), "kick")
    check_equal(client.expect_close(), 0x98, "reason")
    watcher.expect_publish("will/a", "gone")
    check_equal(asked(node, "/api/v1/clients/" + quoted("a/b"))[0], 404, "its session")
    client = Client(("127.0.0.1", node.port), V5, "a/b")
    check_equal(client.connect(clean=False).session_present, False, "session present")
    check_equal(kick(node, "nobody")[0], 404, "somebody who is not there")
    old = joined(node, "old", V311)
    check_equal(asked(node, "/api/v1/clients/old", "DELETE"), (204, None), "DELETE")
    old.expect_close()
    check_equal(asked(node, "/api/v1/clients/old", "DELETE")[0], 404, "DELETE again")


@case
def a_session_without_its_client_can_be_ended_or_kept():
    node = Node().start()
    publisher = joined(node)
    with joined(node, "sleeper", expiry=1000) as client:
        client.subscribed("x", qos=1)
        check_equal(kick(node, "sleeper", keep_session="true")[1]["keep_session"], True, "kept")
        check_equal(client.expect_close(), 0x98, "reason")
    publisher.publish("x", "still", 1)
    status, answer = kick(node, "sleeper", keep_session="true")
    check_equal((status, answer["was_connected"]), (200, False), "of one that is away: nothing")
    with joined(node, "sleeper", expiry=1000) as client:
        client.take("x", "still")
    wait_for(lambda: one_if(node, "sleeper", connected=False), patient(5), "it is away")
    check_equal(kick(node, "sleeper")[0], 200, "ended")
    check_equal(clients(node, clientid="sleeper")["data"], [], "it is gone")
    check_equal(publisher.publish("x", "nobody", 1).reason, 0x10, "its subscription, too")
    node.restart()
    check_equal(clients(node)["data"], [], "after a restart")


@case
def kicks_in_the_middle_of_traffic_leave_no_trace():
    node = Node().start()
    publisher = joined(node)
    for i in range(40):
        client = joined(node, f"busy{i % 3}", expiry=1000 if i % 2 else None).subscribed("t", qos=2)
        for j in range(20):
            publisher.send(mqtt.publish(V5, "t", str(j).encode(), 0))
        check_equal(kick(node, f"busy{i % 3}")[0], 200, "kick")
        try:
            while client.receive().kind != mqtt.DISCONNECT:
                pass
            check_equal(client.got[-1].reason, 0x98, "reason")
        finally:
            client.cut()
    publisher.ping()
    check_equal(ids(clients(node)), [publisher.client_id], "who is left")
    check_equal(node.api("/api/v1/status")["subscriptions"], 0, "subscriptions that are left")


# ---- subscriptions ------------------------------------------------------------------------------


def subscriptions(node, **parameters):
    return node.api("/api/v1/subscriptions?" + urllib.parse.urlencode(parameters))["data"]


def pairs(rows):
    return sorted((row["clientid"], row["topic"]) for row in rows)


@case
def a_subscription_is_shown_with_its_options():
    node = Node("vine1").start()
    client = joined(node, "a/b")
    client.subscribed(("x/+", 0x1c | 2), properties={"subscription_id": 7})
    client.subscribed("$share/g1/y/#", qos=1)
    rows = {row["topic"]: row for row in subscriptions(node)}
    check_equal(rows["x/+"], {"clientid": "a/b", "node": "vine1", "topic": "x/+", "qos": 2, "nl": 1,
                              "rap": 1, "share": None, "subid": 7}, "an ordinary one")
    check_equal(rows["$share/g1/y/#"],
                {"clientid": "a/b", "node": "vine1", "topic": "$share/g1/y/#", "qos": 1, "nl": 0,
                 "rap": 0, "share": "g1", "subid": None}, "a shared one")
    path = "/api/v1/clients/" + quoted("a/b") + "/subscriptions"
    check_equal(pairs(node.api(path)["data"]), pairs(rows.values()), "those of the client")
    client.unsubscribe("x/+")
    check_equal([row["topic"] for row in subscriptions(node)], ["$share/g1/y/#"], "what is left")


@case
def subscriptions_are_found_by_what_they_are():
    node = Node(settings={"node.shards": 3}).start()
    for i in range(9):
        joined(node, f"c{i}").subscribed("all", qos=i % 3).subscribed(f"own/{i}") \
                             .subscribed(f"$share/g{i % 2}/s")
    check_equal(len(subscriptions(node)), 27, "all")
    check_equal(len(subscriptions(node, topic="all")), 9, "a filter")
    check_equal(pairs(subscriptions(node, topic="all", clientid="c4")), [("c4", "all")], "of one")
    check_equal(pairs(subscriptions(node, clientid="c7")),
                [("c7", "$share/g1/s"), ("c7", "all"), ("c7", "own/7")], "a client")
    check_equal(len(subscriptions(node, qos=2)), 3, "a QoS")
    check_equal(len(subscriptions(node, share="g0")), 5, "a group")
    check_equal(subscriptions(node, share="g"), [], "no group")
    check_equal(subscriptions(node, topic="own/+"), [], "a filter is a name here")
    check_equal(subscriptions(node, clientid="nobody"), [], "nobody")
    check_equal(node.api("/api/v1/subscriptions")["meta"]["count"], 27, "how many")
    rows, answers = by_cursor(node, "/api/v1/subscriptions", 4)
    check_equal((len(set(pairs(rows))), len(rows), answers), (27, 27, 7), "by cursor")
    rows, _ = by_cursor(node, "/api/v1/subscriptions", 2, topic="all")
    check_equal(len(set(pairs(rows))), 9, "by cursor, of one filter")
    rows, _ = by_cursor(node, "/api/v1/clients/c3/subscriptions", 1)
    check_equal(len(set(pairs(rows))), 3, "by cursor, of one client")
    refused(node, "/api/v1/clients/nobody/subscriptions", "no such client", 404,
            code="CLIENTID_NOT_FOUND")
    refused(node, "/api/v1/subscriptions?qos=3", "qos: expected 0, 1 or 2")
    refused(node, "/api/v1/subscriptions?qos=-1", "qos: expected 0, 1 or 2")
    refused(node, "/api/v1/subscriptions?match_topic=x", "no such parameter")
    refused(node, "/api/v1/clients/c1/subscriptions?qos=1", "no such parameter")
    refused(node, "/api/v1/subscriptions", "other methods", 405, "POST", code="METHOD_NOT_ALLOWED")


@case
def a_client_with_thousands_of_filters_is_listed_whole():
    node = Node().start()
    client = joined(node, "greedy")
    other = joined(node, "other").subscribed("f/1", "f/2500")
    for first in range(0, 2500, 500):
        client.subscribed(*[f"f/{i}" for i in range(first, first + 500)])
    for path in ("/api/v1/subscriptions?clientid=greedy&", "/api/v1/clients/greedy/subscriptions?"):
        rows = node.api(path + "limit=10000")["data"]
        check_equal(pairs(rows), sorted(("greedy", f"f/{i}") for i in range(2500)), path)
    rows, _ = by_cursor(node, "/api/v1/subscriptions", 600, clientid="greedy")
    check_equal((len(rows), len(set(pairs(rows)))), (2500, 2500), "by cursor")
    check_equal(len(subscriptions(node, limit=10000)), 2502, "all")
    other.ping()


# ---- publishing ---------------------------------------------------------------------------------


def publish(node, **message):
    return asked(node, "/api/v1/publish", "POST", json.dumps(message))


@case
def a_message_arrives_as_it_was_asked_for():
    node = Node().start()
    client = joined(node).subscribed("a/#", options=2 | 8)
    success = (200, {"reason_code": 0, "message": "success"})
    check_equal(publish(node, topic="a/b", payload="hällo", qos=1), success, "plain")
    client.take("a/b", "hällo".encode(), qos=1, retain=False)
    check_equal(publish(node, topic="a/0", payload="x"), success, "QoS 0")
    client.expect_publish("a/0", "x", qos=0)
    check_equal(publish(node, topic="a/2", payload="", qos=2), success, "QoS 2, empty")
    client.take("a/2", b"", qos=2)
    raw = bytes(range(256))
    check_equal(publish(node, topic="a/bin", payload=base64.b64encode(raw).decode(),
                        payload_encoding="base64"), success, "base64")
    client.expect_publish("a/bin", raw)
    check_equal(publish(node, topic="a/nul", payload="\0x"), success, "a NUL in JSON")
    client.expect_publish("a/nul", b"\0x")
    big = base64.b64encode(raw * 600).decode()
    check_equal(publish(node, topic="a/big", payload=big, payload_encoding="base64", qos=1),
                success, "large")
    client.take("a/big", raw * 600)
    check_equal(publish(node, topic="nobody", payload="x", qos=1),
                (202, {"reason_code": 16, "message": "no matching subscribers"}), "nobody")
    properties = {"payload_format_indicator": 1, "message_expiry_interval": 100,
                  "response_topic": "r", "correlation_data": "c", "content_type": "text/plain",
                  "user_properties": {"k": "v", "k2": "ä"}}
    check_equal(publish(node, topic="a/p", payload="x", qos=1, properties=properties), success,
                "properties")
    got = client.take("a/p", "x").properties
    check_equal((got["payload_format"], got["response_topic"], got["correlation_data"],
                 got["content_type"], sorted(got["user_property"])),
                (1, "r", b"c", "text/plain", [("k", "v"), ("k2", "ä")]), "properties")
    check(90 <= got["message_expiry"] <= 100, "expiry")
    received = node.api("/api/v1/status")["messages"]["received"]
    check_equal((received["qos1"], received["qos2"]), (4, 1), "received, counted as any message")


@case
def a_retained_message_is_kept_for_who_comes_later():
    node = Node().start()
    check_equal(publish(node, topic="kept", payload="x", qos=1, retain=True)[0], 202, "kept")
    node.kill9()
    node.start()
    joined(node).subscribed("kept", qos=1).take("kept", "x", retain=True)
    check_equal(publish(node, topic="kept", payload="", qos=1, retain=True)[0], 200, "cleared")
    joined(node).subscribed("kept").expect_nothing()


@case
def what_was_answered_survives_a_crash():
    node = Node(settings={"node.shards": 3}).start()
    with joined(node, "away", expiry=1000) as client:
        client.subscribed("t/#", qos=2)
    for i in range(20):
        check_equal(publish(node, topic=f"t/{i}", payload=str(i), qos=1 + i % 2)[0], 200, "publish")
    node.kill9()
    node.start()
    client = joined(node, "away", expiry=1000)
    got = [client.take().payload for _ in range(20)]
    check_equal(sorted(map(int, got)), list(range(20)), "what came")


@case
def messages_of_one_topic_stay_in_order():
    node = Node(settings={"node.shards": 3}).start()
    client = joined(node).subscribed("t", qos=1)
    for i in range(50):
        check_equal(publish(node, topic="t", payload=str(i), qos=1)[0], 200, "publish")
    check_equal([int(client.take().payload) for _ in range(50)], list(range(50)), "order")


@case
def a_message_goes_to_other_nodes_before_it_is_answered():
    cluster = Cluster(2)
    cluster.start()
    with joined(cluster[1], "away", expiry=1000) as client:
        client.subscribed("far", qos=1)
    check_equal(publish(cluster[0], topic="far", payload="x", qos=1)[0], 200, "publish")
    cluster[1].kill9()
    cluster[1].start()
    joined(cluster[1], "away", expiry=1000).take("far", "x")


@case
def a_node_stops_while_a_message_waits_for_another():
    cluster = Cluster(2)
    cluster.start()
    joined(cluster[1], "there", expiry=1000).subscribed("far", qos=1)
    cluster[1].pause()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(
        publish(cluster[0], topic="far", payload="x", qos=1)))
    asking.start()
    time.sleep(0.3)
    cluster[0].terminate()
    cluster[0].wait_end(patient(20))
    asking.join()
    cluster[1].cont()
    check(answers[0][0] in (200, 503), f"{answers}")


@case
def what_is_no_message_is_refused():
    node = Node(settings={"mqtt.topic_levels_max": 3}).start()
    listener = joined(node).subscribed("#", "$SYS/x", "$share/g/x")
    path = "/api/v1/publish"
    for body, part in {
            b"": "not JSON", b"{": "not JSON", b"[]": "expected a JSON object", b"1": "not JSON",
            b'{"topic": "a", "topic": "b", "payload": ""}': "not JSON",
            b'{"topic": "\xff", "payload": ""}': "not JSON", b"[" * 5000: "not JSON",
            b'{"topic": "a", "payload": ""} x': "not JSON", b'{"": 1}': ": there is no such key"
            }.items():
        refused(node, path, part, method="POST", body=body)
    good = {"topic": "a", "payload": "x"}
    for change, part in (
            ({"topic": None}, "topic: expected"), ({"topic": 1}, "topic: expected"),
            ({"topic": ""}, "topic: empty"), ({"topic": "a/#"}, "topic: empty"),
            ({"topic": "+"}, "wildcard"), ({"topic": "a\0b"}, "topic:"),
            ({"topic": "x" * 65536}, "too long"), ({"topic": "\ud800"}, "not JSON"),
            ({"topic": "1/2/3/4"}, "0x90"), ({"topic": "$SYS/x"}, "0x87"),
            ({"topic": "$share/g/x"}, "0x87"), ({"payload": None}, "payload: expected"),
            ({"payload": {}}, "payload: expected"), ({"payload_encoding": "hex"}, "plain or base64"),
            ({"payload_encoding": 1}, "plain or base64"),
            ({"payload_encoding": "base64"}, "payload: not base64"),
            ({"payload": "eA=", "payload_encoding": "base64"}, "payload: not base64"),
            ({"qos": 3}, "qos:"), ({"qos": -1}, "qos:"), ({"qos": "1"}, "qos:"),
            ({"qos": 1.0}, "qos:"), ({"qos": True}, "qos:"), ({"retain": 1}, "retain:"),
            ({"retained": True}, "retained: there is no such key"),
            ({"properties": 1}, "properties: expected"),
            ({"properties": {"x": 1}}, "properties.x: there is no such key"),
            ({"properties": {"payload_format_indicator": 2}}, "expected 0 or 1"),
            ({"properties": {"message_expiry_interval": 4294967296}}, "expected seconds"),
            ({"properties": {"message_expiry_interval": -1}}, "expected seconds"),
            ({"properties": {"response_topic": "a/#"}}, "response_topic"),
            ({"properties": {"content_type": 1}}, "content_type: expected a string"),
            ({"properties": {"content_type": "a\0b"}}, "properties: "),
            ({"properties": {"correlation_data": "x" * 65536}}, "correlation_data"),
            ({"properties": {"user_properties": []}}, "user_properties"),
            ({"properties": {"user_properties": {"a": 1}}}, "user_properties"),
            ({"properties": {"user_properties": {"a": "\0"}}}, "properties: "),
            ({"payload": "/w==", "payload_encoding": "base64",
              "properties": {"payload_format_indicator": 1}}, "0x99")):
        body = {key: value for key, value in {**good, **change}.items() if value is not None}
        refused(node, path, part, method="POST", body=json.dumps(body))
    refused(node, path + "?qos=1", "no such parameter", method="POST", body=json.dumps(good))
    refused(node, path, "other methods", 405, code="METHOD_NOT_ALLOWED")
    huge = json.dumps({"topic": "a", "payload": "x" * 262144})
    check_equal(node.http(path, "POST", huge)[0], 413, "a body that is too large")
    listener.expect_nothing()
    no_retain = Node(settings={"mqtt.retain_available": "false"}).start()
    refused(no_retain, path, "0x9a", method="POST", body=json.dumps({**good, "retain": True}))


@case
def messages_are_refused_when_there_is_no_room_for_them():
    node = Node(settings={"storage.map_size": "40MiB", "storage.reserve": "16MiB",
                          "storage.ballast": 0}).start()
    with joined(node, "away", expiry=1000) as client:
        client.subscribed("t", qos=1)
    payload = "x" * 200000
    for i in range(200):
        status, answer = publish(node, topic="t", payload=payload, qos=1)
        if status != 200:
            break
    check_equal((status, answer["code"]), (503, "NO_ROOM"), f"after {i} messages")
    check("0x97" in answer["message"], answer["message"])


# ---- retained messages --------------------------------------------------------------------------


def retained(node, **parameters):
    return node.api("/api/v1/retained?" + urllib.parse.urlencode(parameters))["data"]


def topics(rows):
    return sorted(row["topic"] for row in rows)


def retain(client, *names):
    for name in names:
        client.publish(name, name, 1, retain=True)


@case
def a_retained_message_is_shown_with_and_without_its_payload():
    node = Node("vine1").start()
    client = joined(node)
    raw = bytes(range(256))
    client.publish("a/b", raw, 2, retain=True,
                   properties={"message_expiry": 1000, "content_type": "x/y",
                               "response_topic": "r", "user_property": [("k", "v")]})
    short = {"topic": "a/b", "node": "vine1", "qos": 2, "payload_size": 256}
    rows = retained(node)
    check_equal([{**row, "expires_at": None} for row in rows], [{**short, "expires_at": None}],
                "the list")
    check(rows[0]["expires_at"].startswith("20"), rows[0]["expires_at"])
    for path in ("a/b", "a%2Fb", "a%2fb"):
        one = node.api("/api/v1/retained/" + path)
        check_equal(base64.b64decode(one.pop("payload")), raw, "payload")
        check(one.pop("expires_at")[:13] == rows[0]["expires_at"][:13], "expiry")
        check_equal(one, {**short, "payload_encoding": "base64",
                          "properties": {"content_type": "x/y", "response_topic": "r",
                                         "user_properties": {"k": "v"}}}, "one")
    client.publish("plain", "x", 0, retain=True)
    wait_for(lambda: "plain" in topics(retained(node)), patient(5), "it is there")
    one = node.api("/api/v1/retained/plain")
    check_equal((one["expires_at"], one["qos"], one["properties"]), (None, 0, {}), "a plain one")
    refused(node, "/api/v1/retained/a", "no message is retained", 404, code="NOT_FOUND")


@case
def retained_messages_are_found_by_a_filter():
    node = Node(settings={"node.shards": 3}).start()
    everything = ["a", "a/b", "a/c", "/a", "//", "a/b/c", "b c/d", "ä/ö"]
    retain(joined(node), *everything)
    check_equal(topics(retained(node)), sorted(everything), "all, but not $SYS")
    for topic, found in (("#", everything), ("a/+", ["a/b", "a/c"]), ("a/b", ["a/b"]),
                         ("+", ["a"]), ("/#", ["/a", "//"]), ("nobody", []), ("nobody/#", []),
                         ("b c/+", ["b c/d"]), ("ä/#", ["ä/ö"])):
        check_equal(topics(retained(node, topic=topic)), sorted(found), topic)
    wait_for(lambda: retained(node, topic="$SYS/#", limit=1), patient(5), "$SYS by name")
    for path in everything:
        check_equal(node.api("/api/v1/retained/" + quoted(path))["topic"], path, path)
    check_equal(node.api("/api/v1/retained//a")["topic"], "/a", "a slash at the front")


@case
def pages_have_each_retained_message_once():
    node = Node(settings={"node.shards": 3}).start()
    client = joined(node)
    names = [f"f/{i % 7}/{i}" for i in range(2500)]
    for name in names:
        client.send(mqtt.publish(V5, name, b"x", 0, retain=True))
    client.ping()
    wait_for(lambda: len(retained(node, topic="f/#", limit=10000)) == 2500, patient(20), "all")
    found, page = [], 1
    while True:
        answer = node.api(f"/api/v1/retained?topic=f/%23&limit=300&page={page}")
        found += topics(answer["data"])
        if not answer["meta"]["hasnext"]:
            break
        check("cursor" not in answer["meta"], "there are no cursors here")
        page += 1
    check_equal((page, sorted(found)), (9, sorted(names)), "all pages")
    check_equal(len(retained(node, topic="f/3/+", limit=1000)), 357, "a part")


@case
def a_deleted_message_is_gone_on_all_nodes():
    cluster = Cluster(2)
    cluster.start()
    watcher = joined(cluster[1]).subscribed("a/#", qos=1)
    retain(joined(cluster[0]), "a/b", "a/c")
    check_equal(sorted(watcher.take().topic for _ in range(2)), ["a/b", "a/c"], "they are there")
    check_equal(asked(cluster[0], "/api/v1/retained/a/b", "DELETE"), (204, None), "DELETE")
    watcher.take("a/b", b"")
    check_equal(asked(cluster[0], "/api/v1/retained/a/b", "DELETE")[0], 404, "again")
    for node in cluster:
        wait_for(lambda: topics(retained(node)) == ["a/c"], patient(5), "what is left")
    cluster[0].kill9()
    cluster[0].start()
    check_equal(topics(retained(cluster[0])), ["a/c"], "after a crash")


@case
def bad_requests_for_retained_messages_are_told_what_is_wrong():
    node = Node().start()
    retain(joined(node), "a")
    for query, part in {"topic=": "topic:", "topic=a%23": "topic:", "topic=a/%23/b": "topic:",
                        "topic=$share/g/a": "topic:", "topic=%FF": "topic:", "topic=a%00": "topic:",
                        "cursor=0-0": "no such parameter", "qos=1": "no such parameter",
                        "page=1000002&limit=1": "page:", "limit=0": "limit:"}.items():
        refused(node, f"/api/v1/retained?{query}", part)
    for method in ("GET", "DELETE"):
        refused(node, "/api/v1/retained/a%23", "topic:", method=method)
        refused(node, "/api/v1/retained/%2B", "topic:", method=method)
        refused(node, "/api/v1/retained/%FF", "topic:", method=method)
        refused(node, "/api/v1/retained/%00", "the path has", method=method)
        refused(node, "/api/v1/retained/a?x=1", "no such parameter", method=method)
        refused(node, "/api/v1/retained/" + "x" * 20000, "no message", 404, method,
                code="NOT_FOUND")
    refused(node, "/api/v1/retained/a", "other methods", 405, "POST", code="METHOD_NOT_ALLOWED")
    refused(node, "/api/v1/retained", "other methods", 405, "DELETE", code="METHOD_NOT_ALLOWED")
    refused(node, "/api/v1/retained/", "no such path", 404, code="NOT_FOUND")
    wait_for(lambda: retained(node, topic="$SYS/#"), patient(5), "$SYS topics")
    refused(node, "/api/v1/retained/" + quoted(retained(node, topic="$SYS/#")[0]["topic"]), "0x87",
            method="DELETE")
    check_equal(topics(retained(node)), ["a"], "nothing has happened to it")


# ---- routes -------------------------------------------------------------------------------------


def routes(node, **parameters):
    """By filter: the names of the nodes."""
    rows = node.api("/api/v1/routes?" + urllib.parse.urlencode(parameters))["data"]
    by_topic = {row["topic"]: sorted(row["nodes"]) for row in rows}
    check_equal(len(by_topic), len(rows), "each filter is there once")
    return by_topic


@case
def routes_name_the_nodes_and_shards_that_want_a_topic():
    cluster = Cluster(2, settings={"node.shards": 3})
    cluster.start()
    a, b = cluster[0], cluster[1]
    joined(a, "a").subscribed("both/+", "here", "$share/g/both/+")
    joined(b, "b").subscribed("both/+", "there/#", "$share/g/both/+")
    check_equal(routes(a), {"both/+": [str(a), str(b)], "here": [str(a)], "there/#": [str(b)],
                            "$share/g/both/+": [str(a), str(b)]}, "as the first one sees it")
    check_equal(routes(b), routes(a), "as the second one sees it")
    rows = {row["topic"]: row for row in a.api("/api/v1/routes")["data"]}
    check_equal((len(rows["here"]["shards"]), rows["there/#"]["shards"]), (1, []), "shards of this")
    check_equal((rows["here"]["share"], rows["$share/g/both/+"]["share"]), (None, "g"), "groups")
    check_equal(sorted(routes(a, topic="both/+")), ["both/+"], "a filter")
    check_equal(sorted(routes(a, topic="$share/g/both/+")), ["$share/g/both/+"], "a group")
    check_equal(routes(a, topic="both/x"), {}, "a filter is a name here")
    check_equal(sorted(routes(a, match_topic="both/x")), ["$share/g/both/+", "both/+"], "a match")
    check_equal(sorted(routes(a, match_topic="there")), ["there/#"], "another")
    joined(b, "b", clean=True)
    wait_for(lambda: sorted(routes(a)) == ["$share/g/both/+", "both/+", "here"], patient(10), "gone")


@case
def pages_have_each_route_once():
    node = Node(settings={"node.shards": 3}).start()
    client, filters = joined(node), []
    for i in range(2400):
        filters.append((f"w/{i}/+", f"x/{i}", f"$share/g{i}/x")[i % 3])
    for first in range(0, 2400, 400):
        client.subscribed(*filters[first:first + 400])
    found, page = [], 1
    while True:
        answer = node.api(f"/api/v1/routes?limit=700&page={page}")
        found += topics(answer["data"])
        if not answer["meta"]["hasnext"]:
            break
        page += 1
    check_equal((page, sorted(found)), (4, sorted(filters)), "all pages")
    check_equal(len(routes(node, match_topic="x", limit=10000)), 800, "groups of one topic")


@case
def bad_requests_for_routes_are_told_what_is_wrong():
    node = Node().start()
    for query, part in {"topic=a%23": "topic:", "topic=a%00": "topic:", "topic=$share/g": "topic:",
                        "match_topic=a/%23": "match_topic:", "match_topic=%FF": "match_topic:",
                        "cursor=0-0": "no such parameter", "limit=0": "limit:"}.items():
        refused(node, f"/api/v1/routes?{query}", part)
    refused(node, "/api/v1/routes", "other methods", 405, "DELETE", code="METHOD_NOT_ALLOWED")
    check_equal(routes(node), {}, "no routes")


# ---- what is no request -------------------------------------------------------------------------


@case
def bad_requests_are_told_what_is_wrong():
    node = Node().start()
    joined(node, "there")
    for query, part in {
            "limit=0": "limit: expected", "limit=10001": "limit: expected", "limit=x": "limit:",
            "limit=-1": "limit:", "limit=": "limit:", "limit=1e3": "limit:", "page=0": "page:",
            "page=x": "page:", "page=10002&limit=100": "meta.cursor", "page=99999999999999": "page:",
            "cursor=x": "cursor:", "cursor=99-0": "cursor:", "cursor=0-": "cursor:",
            "cursor=0-xyz": "cursor:", "cursor=-1": "cursor:", "cursor=0-0&page=1": "not together",
            "cursor=0-11111111111111111": "cursor:",
            "conn_state=idle": "conn_state:", "conn_state=": "conn_state:",
            "clientId=there": "clientId: this path has no such parameter",
            "limit=1&limit=2": "limit: given more than once",
            "clientid=the%00re": "clientid: no value", "limit": "limit:"}.items():
        refused(node, f"/api/v1/clients?{query}", part)
    check_equal(len(clients(node, cursor="0-ffffffffffffffff")["data"]) <= 1, True, "a made-up cursor")
    refused(node, "/api/v1/clients/there?x=1", "no such parameter")
    refused(node, "/api/v1/clients/the%00re", "the path has")
    refused(node, "/api/v1/clients/the%zzre", "the path has")
    refused(node, "/api/v1/clients/there%00", "the path has", method="DELETE")
    refused(node, "/api/v1/kick", "clientid: expected", method="POST")
    refused(node, "/api/v1/kick?clientid=", "clientid: expected", method="POST")
    refused(node, "/api/v1/kick?clientid=there&keep_session=1", "keep_session:", method="POST")
    refused(node, "/api/v1/kick?id=there", "no such parameter", method="POST")
    check_equal(clients(node)["meta"]["count"], 1, "nothing has happened to it")


@case
def other_paths_methods_and_sizes_are_refused():
    node = Node().start()
    joined(node, "there")
    for method, path in (("POST", "/api/v1/clients"), ("PUT", "/api/v1/clients/there"),
                         ("GET", "/api/v1/kick"), ("DELETE", "/api/v1/kick")):
        refused(node, path, "other methods", 405, method, code="METHOD_NOT_ALLOWED")
    for path in ("/api/v1/clients/", "/api/v1/clients/there/", "/api/v1/clients/there/more",
                 "/api/v1/client"):
        refused(node, path, "no such path", 404, code="NOT_FOUND")
    refused(node, "/api/v1/clients/nobody", "no such client", 404, code="CLIENTID_NOT_FOUND")
    status, body = node.http("/api/v1/kick?clientid=there", "POST",
                             headers={"Content-Length": "100000000"})
    check_equal((status, json.loads(body)["code"]), (413, "TOO_LARGE"), "a huge body")
    status, _ = node.http("/api/v1/clients/there", "DELETE", headers={"Origin": "http://elsewhere"})
    check_equal(status, 403, "a web page")
    check_equal(node.http("/api/v1/clients/there", "HEAD"), (200, b""), "HEAD")
    with socket.create_connection(("127.0.0.1", node.admin_port)) as broken:
        broken.sendall(b"GET /api/v1/clients/there?limit=1 HTTP/1.1\r\nHost:")
    check_equal(clients(node)["meta"]["count"], 1, "nothing has happened to it")


@case
def the_token_is_needed_for_all_of_it():
    node = Node(settings={"admin.token": "sesame", "admin.token_always": "true"}).start()
    joined(node, "there")
    for method, path in (("GET", "/api/v1/clients"), ("GET", "/api/v1/clients/there"),
                         ("DELETE", "/api/v1/clients/there"),
                         ("POST", "/api/v1/kick?clientid=there")):
        check_equal(node.http(path, method)[0], 401, f"{method} {path}")
    headers = {"Authorization": "Bearer sesame"}
    check_equal(node.http("/api/v1/clients/there", headers=headers)[0], 200, "with the token")


if __name__ == "__main__":
    main()
