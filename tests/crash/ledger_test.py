#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node is killed again and again under load, and keeps what it has promised: tests/crash/run is the
same for as long as wanted."""
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import rounds
from harness import case_of, main

LIVES = 18


@case_of(seconds=180)
def acknowledged_is_safe():
    rounds.run(LIVES, random.SystemRandom().randrange(1 << 32))


if __name__ == "__main__":
    main()
