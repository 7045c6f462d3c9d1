#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The power fails: what the disk had been told to keep is enough, whatever becomes of the rest.

As long as wanted: tests/crash/run --power.
"""
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import rounds
from harness import (Node, case, case_of, check, check_equal, folder, main, patient, program,
                     wait_for)
from moments import Trial
from power import FOREVER, Recording
from scene import connect, payloads_of, sleeper, visitor

LIVES = 12
MOMENTS = 16
UNSYNCED_MOMENTS = 8
STARTS = 20


def new_random():
    seed = int(os.environ.get("GV_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"# seed {seed}: GV_TEST_SEED={seed}", flush=True)
    return random.Random(seed)


@case_of(seconds=180)
def acknowledged_is_safe_life_after_life():
    rounds.run(LIVES, random.SystemRandom().randrange(1 << 32), power=True)


@case_of(seconds=180)
def acknowledged_is_safe_at_any_moment_of_a_life():
    trial = Trial(new_random())
    for moment in trial.load.moments(MOMENTS):
        lost = trial.try_moment(moment)
        check(lost is None, lost)


@case_of(seconds=180)
def a_node_that_does_not_sync_is_noticed_and_does_not_crash():
    """So the tests above can fail; and a store that is damaged is refused, not read."""
    trial = Trial(new_random(), settings={"storage.sync": "off"})
    lost = [lost for lost in map(trial.try_moment, trial.load.moments(UNSYNCED_MOMENTS)) if lost]
    refused = sum("does not start" in one for one in lost)
    print(f"# {len(lost)} of {UNSYNCED_MOMENTS} failures were noticed, {refused} by the node")
    check(len(lost) > UNSYNCED_MOMENTS / 3, f"only {len(lost)} were noticed")


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
    moments = edges(recording)
    check(len(moments) > 20, f"only {len(moments)} moments")
    for moment in chance.sample(moments, STARTS):
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
