#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`grapevine bench` from outside: does it see what happened?

Against Debian's mosquitto, so that it is not only tested with our own server; and against a small
server of this file that loses, doubles and reorders messages in a way we know, because a load
generator that cannot see a loss would call every broker good.
Run:  GRAPEVINE_BIN=build/debug/bin tests/cli/bench_test.py [PART-OF-A-NAME...]
"""
import concurrent.futures
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import (SUBACK_WAITS, Node, case, check, check_equal, folder, free_port,  # noqa: E402
                     main, patient, program, spawn, wait_for)


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def mosquitto():
    """A mosquitto that drops neither messages nor who sends many at once: (port, pid)."""
    port = free_port()
    config = os.path.join(folder("bench"), "mosquitto.conf")
    with open(config, "w", encoding="utf-8") as out:
        out.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                  "max_inflight_messages 0\n")
    path = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    process = spawn([path, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: can_connect(port), patient(10), "mosquitto listens")
    return port, process.pid


def bench(*arguments, status=0):
    """Runs it to its end: (report, what it said on stderr)."""
    done = subprocess.run([program("grapevine"), "bench", *map(str, arguments), "--json"],
                          capture_output=True, timeout=patient(60), check=False)
    said = done.stderr.decode()
    check_equal(done.returncode, status, f"exit status ({said.strip()})")
    return json.loads(done.stdout) if done.stdout else None, said


def check_all_arrived(report, copies, what):
    messages = report["messages"]
    check(messages["sent"] > 0, f"{what}: nothing was sent")
    check_equal(messages["received"], messages["sent"] * copies, f"{what}: received")
    for word in ("lost", "duplicates", "late", "strays", "refused"):
        check_equal(messages[word], 0, f"{what}: {word}")
    latency = messages["latency_us"]
    quantiles = [latency[key] for key in ("p50", "p90", "p99", "p99.9", "max")]
    check(quantiles == sorted(quantiles) and quantiles[0] > 0, f"{what}: quantiles {quantiles}")


# ---- against mosquitto --------------------------------------------------------------------------

SHORT = ("--duration", 1, "--warm-up", 0, "--quiet")


@case
def every_scenario_at_every_qos_and_version():
    port, _ = mosquitto()
    scenarios = {"fan-in": (("--publishers", 5, "--subscribers", 2), 2),
                 "fan-out": (("--publishers", 2, "--subscribers", 3), 3),
                 "pairs": (("--publishers", 3, "--subscribers", 3), 1),
                 "shared": (("--publishers", 2, "--subscribers", 3), 1)}
    def run(number, name, qos):
        who, copies = scenarios[name]
        version = ("3.1", "3.1.1", "5")[(number + qos) % 3]
        report, _ = bench(name, *who, "--qos", qos, "--protocol", version, "--rate", 300,
                          "--target", f"127.0.0.1:{port}", *SHORT)
        check_all_arrived(report, copies, f"{name}, QoS {qos}, {version}")
        if qos > 0:
            check_equal(report["messages"]["acknowledged"], report["messages"]["sent"],
                        f"{name}, QoS {qos}: acknowledged")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run, number, name, qos)
                for number, name in enumerate(scenarios) for qos in (0, 1, 2)]
        for done in runs:
            done.result()


@case
def acknowledgements_for_a_session_that_sleeps():
    node = Node("bench")
    node.start()
    subprocess.run([program("grapevine"), "sub", "-p", str(node.port), "-i", "sleeper", "-c",
                    "-x", "600", "-t", "bench/#", "-q", "1", "-E"], timeout=patient(30), check=True)
    report, _ = bench("fan-in", "--publishers", 2, "--subscribers", 0, "--qos", 1, "--rate", 300,
                      "--target", f"127.0.0.1:{node.port}", *SHORT)
    messages = report["messages"]
    check_equal(messages["acknowledged"], messages["sent"], "acknowledged")
    check_equal(messages["lost"], 0, "lost")
    check(messages["acknowledged_per_second"] > 0, "no acknowledgements in the measurement")
    check_equal(node.api("/api/v1/status")["queued_messages"], messages["sent"], "waiting")
    node.stop()


@case
def persistent_sessions_stay_for_a_while():
    node = Node("bench")
    node.start()
    report, _ = bench("pairs", "--publishers", 2, "--subscribers", 2, "--qos", 1, "--protocol", 5,
                      "--persistent", "--rate", 300, "--target", f"127.0.0.1:{node.port}", *SHORT)
    check_all_arrived(report, 1, "pairs with persistent sessions")
    check_equal(node.api("/api/v1/status")["sessions"], 2, "sessions without a client")
    node.stop()


@case
def a_rate_is_kept():
    port, _ = mosquitto()
    report, _ = bench("pairs", "--rate", 2000, "--target", f"127.0.0.1:{port}", *SHORT)
    check_all_arrived(report, 1, "pairs")
    check(1500 <= report["messages"]["sent_per_second"] <= 2300,
          f"{report['messages']['sent_per_second']:.0f} messages/s instead of 2000")


@case
def a_window_bounds_what_is_on_the_way():
    port, _ = mosquitto()
    for arguments in (("--qos", 0), ("--qos", 0, "--threads", 2), ("--qos", 1), ("--qos", 2)):
        report, _ = bench("pairs", *arguments, "--window", 3, "--target", f"127.0.0.1:{port}",
                          *SHORT)
        check_all_arrived(report, 1, f"{arguments}")
        # 4 publishers with 3 messages each on the way: without the bound thousands would wait.
        check(report["messages"]["latency_us"]["p50"] < patient(50000),
              f"{arguments}: p50 {report['messages']['latency_us']['p50']} us")


@case
def large_messages():
    port, _ = mosquitto()
    for size in (16, 16384, 100000):
        report, _ = bench("pairs", "--size", size, "--rate", 200, "--target", f"127.0.0.1:{port}",
                          *SHORT)
        check_all_arrived(report, 1, f"{size} bytes")


@case
def connections_and_subscriptions_are_counted():
    port, pid = mosquitto()
    report, _ = bench("idle", "--connections", 300, "--duration", 1, "--keep-alive", 2, "--quiet",
                      "--broker-pid", pid, "--target", f"127.0.0.1:{port}", "--threads", 2)
    check_equal(report["connections"]["connected"], 300, "connected")
    check_equal(report["connections"]["lost"], 0, "lost")
    check_equal(report["subscriptions"]["granted"], 300, "subscriptions")
    check(50 < report["broker"]["bytes_per_connection"] < 20000,
          f"{report['broker']['bytes_per_connection']} bytes per connection")
    report, _ = bench("subs", "--subscriptions", 5000, "--subscribers", 3, "--duration", 0,
                      "--quiet", "--broker-pid", pid, "--target", f"127.0.0.1:{port}")
    check_equal(report["subscriptions"]["granted"], 5000, "subscriptions")
    check(report["subscriptions"]["per_second"] > 1000, "subscribing takes seconds")
    check(50 < report["broker"]["bytes_per_subscription"] < 20000,
          f"{report['broker']['bytes_per_subscription']} bytes per subscription")
    report, _ = bench("subs", "--subscriptions", 500, "--publishers", 2, "--rate", 500, *SHORT,
                      "--target", f"127.0.0.1:{port}")
    check_all_arrived(report, 1, "one subscription of 500 matches")


@case
def publishers_and_subscribers_on_two_nodes_of_a_cluster():
    first = Node("one", cluster=True, settings=SUBACK_WAITS)
    second = Node("two", cluster=True, settings=SUBACK_WAITS, seeds=[first.cluster_address])
    first.start()
    second.start()
    for node in (first, second):
        wait_for(lambda: node.sees_alive_and_linked([first, second]), patient(10),
                 "the nodes see each other")
    report, _ = bench("pairs", "--qos", 1, "--rate", 500, *SHORT,
                      "--pub-target", f"127.0.0.1:{first.port}",
                      "--sub-target", f"127.0.0.1:{second.port}")
    check_all_arrived(report, 1, "across nodes")


@case
def people_get_a_summary_and_progress():
    port, pid = mosquitto()
    done = subprocess.run([program("grapevine"), "bench", "pairs", "--rate", "100", "--duration",
                           "2", "--target", f"127.0.0.1:{port}", "--broker-pid", str(pid)],
                          capture_output=True, timeout=patient(60), check=True, text=True)
    for word in ("pairs: 8 connections", "received/s", "latency", "p99.9", "broker:", "generator:"):
        check(word in done.stdout, f"no '{word}' in the summary: {done.stdout}")
    check(done.stderr.count("measure ") >= 1, f"no progress: {done.stderr}")


# ---- against a server that does wrong -----------------------------------------------------------


def read_exactly(stream, size):
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def read_packet(stream):
    """(first byte, whole packet, body)"""
    packet = read_exactly(stream, 1)
    length = shift = 0
    while True:
        byte = read_exactly(stream, 1)
        packet += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    body = read_exactly(stream, length)
    return packet[0], packet + body, body


class Relay:
    """One publisher, one subscriber; spoil(packets) says what becomes of the messages."""

    def __init__(self, spoil, connack=b"\x20\x02\x00\x00"):
        self.spoil = spoil
        self.connack = connack
        self.subscriber = None
        self.subscribed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        waiting = []
        try:
            while True:
                first, packet, body = read_packet(stream)
                if first >> 4 == 1:
                    stream.sendall(self.connack)
                elif first >> 4 == 8:
                    stream.sendall(b"\x90\x03" + body[:2] + b"\x00")
                    self.subscriber = stream
                    self.subscribed.set()
                elif first >> 4 == 3:
                    waiting.append(packet)
                    if len(waiting) == 10:
                        self.subscriber.sendall(b"".join(self.spoil(waiting)))
                        waiting = []
                elif first >> 4 == 14:
                    break
        except OSError:
            pass
        stream.close()


# What is late is not lost; what is lost is waited for as long.
DRAIN_SECONDS = int(patient(1))


def bench_relay(spoil):
    relay = Relay(spoil)
    report, said = bench("pairs", "--publishers", 1, "--subscribers", 1, "--rate", 1000, "--drain",
                         DRAIN_SECONDS, *SHORT, "--target", f"127.0.0.1:{relay.port}")
    return report["messages"], said


@case
def lost_messages_are_seen():
    messages, _ = bench_relay(lambda ten: ten[:4] + ten[5:])
    # The relay keeps the last ones, up to nine, for itself.
    whole = messages["sent"] // 10
    check_equal(messages["received"], 9 * whole, "received")
    check_equal(messages["lost"], whole + messages["sent"] % 10, "lost")
    check_equal(messages["late"] + messages["duplicates"], 0, "late and duplicates")


@case
def doubled_messages_are_seen_and_do_not_hide_losses():
    messages, _ = bench_relay(lambda ten: ten[:4] + ten[3:4] + ten[5:])
    whole = messages["sent"] // 10
    check_equal(messages["duplicates"], whole, "duplicates")
    check_equal(messages["lost"], whole + messages["sent"] % 10, "lost")


@case
def messages_out_of_order_are_seen():
    messages, _ = bench_relay(lambda ten: ten[1:2] + ten[0:1] + ten[2:])
    check_equal(messages["late"], messages["sent"] // 10, "late")
    check_equal(messages["lost"], messages["sent"] % 10, "lost")


@case
def a_foreign_message_is_a_stray():
    foreign = b"\x30\x06\x00\x01they"
    messages, _ = bench_relay(lambda ten: ten + [foreign])
    check_equal(messages["strays"], messages["sent"] // 10, "strays")
    check_equal(messages["lost"], messages["sent"] % 10, "lost")


@case
def a_broker_that_does_not_speak_mqtt():
    relay = Relay(lambda ten: [b"\x00" * 20])
    _, said = bench("pairs", "--publishers", 1, "--subscribers", 1, "--rate", 1000, "--drain", 1,
                    *SHORT, "--target", f"127.0.0.1:{relay.port}", status=1)
    check("does not speak MQTT" in said, said)


@case
def a_refused_connection_is_named():
    relay = Relay(None, connack=b"\x20\x02\x00\x05")
    _, said = bench("pairs", *SHORT, "--target", f"127.0.0.1:{relay.port}", status=1)
    check("refuses the connection" in said and "not authorized" in said.lower(), said)
    _, said = bench("pairs", *SHORT, "--target", f"127.0.0.1:{free_port()}", status=1)
    check("cannot connect: refused" in said, said)


@case
def more_connections_than_descriptors():
    _, said = bench("idle", "--connections", 1000000, status=1)
    check("descriptors" in said, said)


if __name__ == "__main__":
    main()
