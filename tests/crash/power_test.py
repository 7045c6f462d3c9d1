#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The power fails: what the disk had been told to keep is enough, whatever becomes of the rest.

As long as wanted: tests/crash/run --power, and --moments.
"""
import errno
import json
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import moments
import rounds
from disk import Disk
from harness import (Node, case, case_of, check, check_equal, folder, main, patient, program,
                     wait_for)
from moments import Trial
from power import FOREVER, Kind, Loss, Recording
from scene import connect, payloads_of, sleeper, sleepers_apart, visitor

LIVES = 12
MOMENTS = 12
UNSYNCED_MOMENTS = 8
STARTS = 20
INTERVAL_MS = 300


def new_seed():
    return int(os.environ.get("GV_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


def new_random():
    seed = new_seed()
    print(f"# GV_TEST_SEED={seed}", flush=True)
    return random.Random(seed)


@case_of(seconds=180)
def acknowledged_is_safe_life_after_life():
    rounds.run(LIVES, new_seed(), power=True)


@case_of(seconds=180)
def acknowledged_is_safe_at_any_moment_of_a_life():
    moments.run(MOMENTS, new_seed())


@case_of(seconds=180)
def a_node_that_does_not_sync_is_noticed_and_does_not_crash():
    """So the tests above can fail; and a store that is damaged is refused, not read."""
    trial = Trial(new_random(), settings={"storage.sync": "off"})
    lost = [lost for lost in map(trial.try_moment, trial.load.moments(UNSYNCED_MOMENTS)) if lost]
    refused = sum("does not start" in one for one in lost)
    print(f"# {len(lost)} of {UNSYNCED_MOMENTS} failures were noticed, {refused} by the node")
    check(len(lost) > UNSYNCED_MOMENTS / 3, f"only {len(lost)} were noticed")


@case
def with_an_interval_everything_before_the_last_sync_is_there():
    """On a disk that loses all that came after it; how often there is one is the node's promise."""
    chance = new_random()
    place = os.path.realpath(folder("interval"))
    settings = {"storage.sync": "interval", "storage.sync_interval": f"{INTERVAL_MS}ms"}
    node = Node(data=os.path.join(place, "data"), settings=settings)
    recording = Recording(node.data, os.path.join(place, "recording"))
    node.env.update(recording.env())
    node.start()
    sleeping = sleeper(node, "t")
    publisher = visitor(node)
    answered = []  # (when, how many were acknowledged before)
    began = time.monotonic()
    while time.monotonic() < began + 6 * INTERVAL_MS / 1000:
        answered.append((time.monotonic_ns(), len(answered)))
        publisher.publish("t", str(len(answered) - 1), 1)
    node.kill9()
    syncs = [event for event in recording.events() if event.kind is Kind.SYNCED
             and event.begun > answered[0][0]]
    check(len(syncs) >= 3, f"only {len(syncs)} syncs in 6 times the interval")
    kept = []
    for moment in chance.sample([sync.ended + 1 for sync in syncs], 3):
        image = os.path.join(place, "image")
        recording.image(image, moment, chance, Loss.ALL)
        after = Node(data=image).start()
        last = max(sync.begun for sync in syncs if sync.ended < moment)
        must = max((count for when, count in answered if when < last), default=0)
        got = payloads_of(connect(after, sleeping), must)
        after.kill9()
        check_equal(got, [str(i).encode() for i in range(len(got))], "messages, from the first on")
        check(len(got) >= must, f"{must} were acknowledged before the last sync, {len(got)} are left")
        kept.append(f"{len(got)} of {must} to {len(answered)}")
    print(f"# {', '.join(kept)}")


@case
def what_is_acknowledged_between_failing_syncs_is_there():
    """A disk that has failed may have dropped anything of that commit; what follows is on it."""
    chance = new_random()
    disk = Disk()
    place = os.path.realpath(folder("failing"))
    node = Node(data=os.path.join(place, "data"))
    recording = Recording(node.data, os.path.join(place, "recording"))
    node.env.update({**disk.env(), **recording.env(),
                     "LD_PRELOAD": f"{recording.env()['LD_PRELOAD']} {disk.library}"})
    node.start()
    sleeping = sleepers_apart(node, "t")[0]
    publisher = visitor(node)
    answered = []  # (when, payload)
    refused = 0
    deadline = time.monotonic() + patient(30)
    while (len(answered) < 60 or refused < 10) and time.monotonic() < deadline:
        disk.be(error=errno.EIO if chance.random() < 0.4 else 0)
        for _ in range(chance.randint(1, 5)):
            payload = f"{len(answered)}+{refused} ".encode().ljust(chance.choice((20, 5000)))
            if publisher.publish("t", payload, 1).reason < 0x80:
                answered.append((time.monotonic_ns(), payload))
            else:
                refused += 1
                time.sleep(0.01)  # it does not try at once again
    check(len(answered) >= 60 and refused >= 10,
          f"{len(answered)} were acknowledged, {refused} refused")
    node.kill9()
    for moment, _ in chance.sample(answered, 5):
        image = os.path.join(place, "image")
        told = recording.image(image, moment + 1, chance)
        after = Node(data=image).start()
        must = [payload for when, payload in answered if when <= moment]
        got = payloads_of(connect(after, sleeping), len(must))
        after.kill9()
        left = iter(got)
        missing = [payload for payload in must if payload not in left]  # in order
        check(not missing, f"{len(missing)} of {len(must)} are missing, or out of order; {told}")
    print(f"# {len(answered)} acknowledged, {refused} refused")


def edges(recording):
    """Moments between all calls."""
    events = recording.events()
    return sorted({0, FOREVER, *(event.begun + 1 for event in events),
                   *(event.ended + 1 for event in events)})


@case
def a_first_start_may_be_interrupted_anywhere():
    """Whatever is there then, the next start makes a store of it."""
    chance = new_random()
    place = os.path.realpath(folder("first"))
    node = Node(data=os.path.join(place, "data"))
    recording = Recording(node.data, os.path.join(place, "recording"))
    node.env.update(recording.env())
    node.start().kill9()
    after = Node(data=os.path.join(place, "image"))
    places = edges(recording)
    check(len(places) > STARTS, f"only {len(places)} moments")
    for moment in chance.sample(places, STARTS):
        told = recording.image(after.data, moment, chance)
        after.start(wait=False)
        wait_for(lambda: after.is_ready() or not after.is_running(), patient(30), "it starts")
        check(after.is_running(), f"it does not start: {after.log().splitlines()[-1:]}; {told}")
        after.kill9()


def store(action, directory, env=None):
    """What `grapevine store ACTION --json DIRECTORY` says; it has to succeed."""
    done = subprocess.run([program("grapevine"), "store", action, "--json", directory],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          env={**os.environ, **(env or {})})
    check(done.returncode == 0, f"store {action}: {done.stdout}")
    return json.loads(done.stdout)


def records_in(directory):
    store("check", directory)
    return {table: figures["records"]
            for table, figures in store("stats", directory)["tables"].items()}


@case
def compaction_may_be_interrupted_anywhere():
    """There is the store before or the store after, with everything in it."""
    chance = new_random()
    place = os.path.realpath(folder("compact"))
    node = Node(data=os.path.join(place, "data")).start()
    sleeping = sleeper(node, "t/#")
    publisher = visitor(node)
    for i in range(100):
        publisher.publish(f"t/{i}", f"{i} ".ljust(3000), 1, retain=i % 2 == 0)
    node.kill9()
    before = records_in(node.data)
    recording = Recording(node.data, os.path.join(place, "recording"))
    store("compact", node.data, recording.env())
    recording.check_complete(chance)
    for moment in edges(recording):
        image = os.path.join(place, "image")
        told = recording.image(image, moment, chance)
        check_equal(records_in(image), before, f"records after {told}")
    after = Node(data=os.path.join(place, "image")).start()
    check_equal(len(payloads_of(connect(after, sleeping), 100)), 100, "messages")


if __name__ == "__main__":
    main()
