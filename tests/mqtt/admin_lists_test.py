#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator sees and does over HTTP: clients, and ending them."""

import json
import pathlib
import socket
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
import scram
from client import Client
from harness import Node, at_end, case, check, check_equal, main, patient, wait_for
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
