#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that takes its time, or fails: publishers wait, nobody else does, and nothing is lost.

The disk is made slow between the node and the C library: disk.c, compiled when the tests run.
"""
import errno
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import packets as mqtt
from disk import Disk
from flood import Flood
from harness import Node, case, check, check_equal, main, patient, wait_for
from loop import Loop
from packets import V5
from scene import connect, kill_and_start, memory, payloads_of, sleeper, visitor

MEMORY_MAX = 200 << 20
SYNC_MS = 700


@case
def a_slow_disk_slows_publishers_and_nobody_else():
    disk = Disk()
    node = Node(env=disk.env(), settings={"storage.queue_messages_max": 10_000_000,
                                          "storage.queue_bytes_max": "8GiB"}).start()
    sleeping = sleeper(node, "flood/#")
    live = visitor(node).subscribed("live", qos=0)
    before = memory(node)
    disk.be(slow_ms=SYNC_MS)
    loop = Loop()
    floods = [Flood(loop, node, number, 3000) for number in range(3)]
    longest = 0
    largest = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for flood in floods:
            flood.fill()
        loop.run(0.02)
        began = time.monotonic()
        live.publish("live", b"x")
        live.expect_publish("live", b"x")
        longest = max(longest, time.monotonic() - began)
        largest = max(largest, memory(node))
    sent = sum(flood.sent for flood in floods)
    in_time = sum(flood.acknowledged for flood in floods)
    disk.be()
    check(not any(flood.has_ended for flood in floods), "a publisher was disconnected")
    check(loop.run(patient(30), lambda: all(flood.acknowledged == flood.sent for flood in floods)),
          "everything is acknowledged when the disk is fast again")
    loop.close()
    print(f"# 3 s with syncs of {SYNC_MS} ms: {in_time} of {sent} messages acknowledged, "
          f"{(largest - before) >> 20} MiB; QoS 0 beside it took {longest * 1000:.0f} ms at most")
    check(in_time > 100, f"only {in_time} messages were acknowledged: commits are not shared")
    check(largest - before < MEMORY_MAX, f"the node has grown by {(largest - before) >> 20} MiB")
    check(longest < SYNC_MS / 1000, f"QoS 0 took {longest:.2f} s")
    got = payloads_of(connect(node, sleeping), sent)
    for flood in floods:
        own = [p for p in got if p.startswith(f"{flood.number}:".encode())]
        check(own == [flood.payload(i) for i in range(flood.sent)],
              f"{len(own)} of {flood.sent} have arrived, or out of order")


@case
def what_a_failing_disk_did_not_take_is_not_acknowledged():
    disk = Disk()
    node = Node(env=disk.env()).start()
    sleeping = sleeper(node, "t")
    publisher = connect(node)
    publisher.publish("t", "before", 1)
    disk.be(error=errno.EIO)
    publisher.send(mqtt.publish(V5, "t", "meanwhile", 1, 100))
    answer = publisher.receive(1)  # where it is acknowledged, it is so without waiting
    check(answer is None or answer.reason >= 0x80, f"acknowledged without a disk: {answer}")
    check(node.is_running(), "the node has ended")
    disk.be()

    def goes_on():
        publisher.send(mqtt.publish(V5, "t", "after", 1, publisher.next_id()))
        return publisher.expect(mqtt.PUBACK).reason == 0
    wait_for(goes_on, patient(5), "work goes on when the disk is well again")
    kill_and_start(node)
    got = payloads_of(connect(node, sleeping), 2)
    check_equal([got[0], got[-1]], [b"before", b"after"], "what was acknowledged")


if __name__ == "__main__":
    main()
