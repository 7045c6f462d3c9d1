#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM: a quick end, with everything acknowledged on disk, under the highest load and at any time."""
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

from flood import Flood
from harness import Node, case, check, check_equal, main, patient, program, wait_for
from loop import Loop
from scene import check_payloads, connect, payloads_of, sleeper, visitor

FLOODS = 4
SECONDS_MAX = 3
STARTS = 12
ENOUGH = 100  # messages acknowledged, to mean anything


def flooded_until_sigterm(size):
    node = Node(settings={"storage.queue_messages_max": 10_000_000,
                          "storage.queue_bytes_max": "8GiB"}).start()
    sleepers = [sleeper(node, "flood/#", qos=2) for _ in range(2)]
    loop = Loop()
    floods = [Flood(loop, node, number, size) for number in range(FLOODS)]
    began = time.monotonic()
    while time.monotonic() - began < 0.7 or (
            sum(flood.acknowledged for flood in floods) <= ENOUGH and
            time.monotonic() - began < patient(10)):
        for flood in floods:
            flood.fill()
        loop.run(0.002)
    node.terminate()
    began = time.monotonic()
    check(loop.run(patient(SECONDS_MAX), lambda: not node.is_running()), "the node ends soon")
    took = time.monotonic() - began
    check_equal(node.process.returncode, 0, "exit status")
    loop.run(patient(5), lambda: all(flood.has_ended for flood in floods))
    loop.close()
    acknowledged = sum(flood.acknowledged for flood in floods)
    print(f"# {acknowledged} of {sum(flood.sent for flood in floods)} messages of {size} bytes "
          f"acknowledged, {took:.2f} s from SIGTERM to the end")
    check(acknowledged > ENOUGH, "too few to mean anything")

    node.start()
    for client_id in sleepers:
        got = payloads_of(connect(node, client_id), acknowledged, patient(0.5))
        for flood in floods:
            own = [p for p in got if p.startswith(f"{flood.number}:".encode())]
            check(len(own) >= flood.acknowledged, f"{flood.acknowledged} were acknowledged, "
                  f"{len(own)} have arrived")
            check(own == [flood.payload(i) for i in range(len(own))], "order of messages")


@case
def small_messages():
    flooded_until_sigterm(50)


@case
def large_messages():
    flooded_until_sigterm(20_000)


@case
def from_the_first_moment_of_a_start():
    """It starts, and then ends in order; at once or a little later."""
    node = Node().start()
    client_id = sleeper(node, "t")
    visitor(node).publish("t", "x", 1)
    node.stop()
    for i in range(STARTS):
        said = os.path.getsize(node.log_path)
        node.start(wait=False)
        wait_for(lambda: os.path.getsize(node.log_path) > said, patient(10), "the program runs",
                 interval=0.0005)
        time.sleep(0.004 * i)
        node.terminate()
        if i % 3 == 0:  # some insist
            node.terminate()
        check_equal(node.wait_end(patient(15)), 0, f"exit status, {4 * i} ms after the begin")
        check_equal(store_check(node), 0, "exit status of grapevine store check")
    check_payloads(connect(node.start(), client_id), [b"x"], "messages")
    node.stop()


def store_check(node):
    return subprocess.run([program("grapevine"), "store", "check", node.data], check=False,
                          stdout=subprocess.DEVNULL).returncode


@case
def again_while_it_ends():
    """Whoever asks three times gets it sooner, and not an end without order."""
    for pause in (0, 0.001, 0.005, 0.02):
        node = Node().start()
        client = connect(node).subscribed("t", qos=1)
        for _ in range(4):
            node.terminate()
            time.sleep(pause)
        check_equal(node.wait_end(patient(15)), 0, "exit status")
        client.cut()


if __name__ == "__main__":
    main()
