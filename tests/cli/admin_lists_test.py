#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The commands that show what a node has, and change it."""

import json
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("", "mqtt")]

from client import Client
from harness import Node, at_end, case, check, check_equal, main, patient, program
from packets import V311


def joined(node, client_id, **options):
    client = Client(("127.0.0.1", node.port), options.pop("version", 5), client_id)
    at_end(client.cut)
    client.connect(**options)
    return client


def grapevine(node, *arguments, status=0):
    """What it prints: stdout if it succeeds, else stderr."""
    done = subprocess.run([program("grapevine"), *arguments, "--admin", node.admin_address],
                          capture_output=True, text=True, timeout=patient(30), check=False)
    check_equal(done.returncode, status, f"{arguments}: {done.stderr}")
    return done.stdout if status == 0 else done.stderr


def table(text):
    """Rows of cells, by the heads in the first line."""
    lines = text.splitlines()
    at = [i for i, c in enumerate(lines[0]) if c != " " and (i == 0 or lines[0][i - 1] == " ")]
    cut = [[line[a:b].strip() for a, b in zip(at, at[1:] + [None])] for line in lines]
    return [dict(zip(cut[0], row)) for row in cut[1:]]


@case
def clients_are_shown_in_a_table():
    node = Node().start()
    client = joined(node, "a/b c", keep_alive=30).subscribed("x")
    joined(node, "old", version=V311, clean=False)
    rows = {row["CLIENTID"]: row for row in table(grapevine(node, "clients"))}
    port = client.socket.getsockname()[1]
    check_equal(rows["a/b c"], {"CLIENTID": "a/b c", "STATE": "online", "USER": "-",
                                "ADDRESS": f"127.0.0.1:{port}", "MQTT": "5.0", "KEEPALIVE": "30",
                                "EXPIRY": "0s", "SUBS": "1", "QUEUED": "0", "INFLIGHT": "0"},
                "a row")
    check_equal((rows["old"]["MQTT"], rows["old"]["EXPIRY"]), ("3.1.1", "never"), "another")
    found = json.loads(grapevine(node, "clients", "--like", "ol", "--json"))
    check_equal([entry["clientid"] for entry in found["data"]], ["old"], "--like, --json")
    check_equal(table(grapevine(node, "clients", "--offline")), [], "--offline")
    check_equal(len(table(grapevine(node, "clients", "--online"))), 2, "--online")


@case
def one_client_is_shown_whole():
    node = Node("vine").start()
    joined(node, "a/b c")
    shown = grapevine(node, "clients", "a/b c")
    check("client           a/b c" in shown and "vine" in shown and "online" in shown, shown)
    check_equal(json.loads(grapevine(node, "clients", "a/b c", "--json"))["clientid"], "a/b c",
                "--json")
    check("404: this node has no such client" in grapevine(node, "clients", "x", status=1), "404")


@case
def a_long_list_says_how_to_go_on():
    node = Node().start()
    for i in range(5):
        joined(node, f"c{i}")
    first = grapevine(node, "clients", "--limit", "3").splitlines()
    check_equal(len(first), 5, "head, three, and a line on how to go on")
    rest = table(grapevine(node, "clients", *first[-1].split(": ")[1].split()))
    seen = sorted([line.split()[0] for line in first[1:4]] + [row["CLIENTID"] for row in rest])
    check_equal(seen, [f"c{i}" for i in range(5)], "all of them, once")
    check_equal(len(table(grapevine(node, "clients", "--limit", "2", "--page", "3"))), 1, "--page")
    check("limit: expected" in grapevine(node, "clients", "--limit", "x", status=1), "nonsense")


@case
def a_kick_says_what_it_has_done():
    node = Node().start()
    client = joined(node, "-x", clean=False, properties={"session_expiry": 100})
    check_equal(grapevine(node, "kick", "--keep-session", "--json", "--", "-x", status=2)
                .startswith("grapevine kick: unexpected"), True, "all behind -- are words")
    kicked = subprocess.run([program("grapevine"), "kick", "--admin", node.admin_address,
                             "--keep-session", "--", "-x"], capture_output=True, text=True,
                            check=True).stdout
    check_equal(kicked, "disconnected, a session that outlives connections stays\n", "kept")
    check_equal(client.expect_close(), 0x98, "reason")
    joined(node, "y")
    check_equal(grapevine(node, "kick", "y"), "disconnected, the session is gone\n", "gone")
    check("no such client" in grapevine(node, "kick", "y", status=1), "again")
    check("expected: grapevine kick ID" in grapevine(node, "kick", status=2), "nobody")


@case
def subscriptions_are_shown_in_a_table():
    node = Node().start()
    joined(node, "a").subscribed(("x/+", 0x0c | 2), properties={"subscription_id": 7})
    joined(node, "b").subscribed("$share/g/y", "x/+")
    rows = {(row["CLIENTID"], row["FILTER"]): row for row in table(grapevine(node, "subscriptions"))}
    check_equal(rows["a", "x/+"], {"CLIENTID": "a", "QOS": "2", "NO-LOCAL": "yes", "ID": "7",
                                   "AS-PUBLISHED": "yes", "FILTER": "x/+"}, "a row")
    check_equal(len(rows), 3, "all")
    for options, count in ((("x/+",), 2), (("--client", "b"), 2), (("--share", "g"), 1),
                           (("--qos", "2"), 1), (("x",), 0)):
        check_equal(len(table(grapevine(node, "subscriptions", *options))), count, options)
    check("there are more" in grapevine(node, "subscriptions", "--limit", "1"), "a page")


@case
def retained_messages_are_shown_in_a_table():
    node = Node().start()
    client = joined(node, "a")
    for i in range(3):
        client.publish(f"p/{i}", "x" * (10 + i), 1, retain=True)
    rows = {row["TOPIC"]: row for row in table(grapevine(node, "retained"))}
    check_equal(rows["p/2"], {"QOS": "1", "BYTES": "12", "EXPIRES": "-", "TOPIC": "p/2"}, "a row")
    check_equal(len(rows), 3, "all")
    check_equal(len(table(grapevine(node, "retained", "p/1"))), 1, "a topic")
    shown = grapevine(node, "retained", "p/#", "--limit", "2").splitlines()
    check_equal(shown[-1], "there are more: --page 2", "a page")
    check("topic: expected" in grapevine(node, "retained", "a#", status=1), "no filter")


@case
def routes_are_shown_in_a_table():
    node = Node("vine", settings={"node.shards": 1}).start()
    joined(node, "a").subscribed("p/+", "p/1", "$share/g/q")
    rows = {row["FILTER"]: row for row in table(grapevine(node, "routes"))}
    check_equal(rows["p/+"], {"NODES": "vine", "SHARDS": "0", "FILTER": "p/+"}, "a row")
    check_equal(sorted(rows), ["$share/g/q", "p/+", "p/1"], "all")
    check_equal(len(table(grapevine(node, "routes", "p/+"))), 1, "a filter")
    check_equal(len(table(grapevine(node, "routes", "--match", "p/1"))), 2, "a topic")
    check("there are more: --page 2" in grapevine(node, "routes", "--limit", "2"), "a page")


@case
def help_names_the_arguments():
    node = Node()
    check("grapevine clients [ID] [OPTION]..." in grapevine(node, "clients", "--help"), "clients")
    check("grapevine kick ID [OPTION]..." in grapevine(node, "kick", "--help"), "kick")
    check("--like needs a value" in run_bare("clients", "--like"), "a value that is not there")


def run_bare(*arguments):
    return subprocess.run([program("grapevine"), *arguments], capture_output=True, text=True,
                          timeout=patient(30), check=False).stderr


if __name__ == "__main__":
    main()
