# SPDX-License-Identifier: Apache-2.0
"""Power failures: what a disk has after one, made from a recording of what a process did to it.

recorder.c, preloaded into a process, writes down what that does to a directory.  The image of a
failure at a moment has

- every write that was on the disk then: there was a sync of its file that began after the write had
  ended and ended before the moment, or the file was open with O_DSYNC;
- of all other writes that had begun, any part in any order: all of them or none, some of them, or
  some of their sectors;
- of new, changed and deleted names those that a sync of the directory covers, and the first few of
  the others: file systems keep the order of names, if nothing else.

A file that is not itself in order after that was not synced when it should have been.
"""
import enum
import os
import shutil
import struct
import subprocess

import harness
from harness import Skip, check

HERE = os.path.dirname(os.path.abspath(__file__))
HEAD = struct.Struct("=IIQQQQQ")
MAGIC = 0x6F6E7672
FOREVER = 1 << 63
KEPT_LIVES = 8
LOCKS = "lock.mdb"  # not recorded: LMDB makes it anew


class Kind(enum.IntEnum):
    OPENED, CREATED, WRITTEN, WRITTEN_SYNCED, RESIZED, LENGTHENED, SYNCED, RENAMED, UNLINKED = \
        range(1, 10)


class Loss(enum.Enum):
    """What becomes of the writes that were not synced."""
    ALL = "all are lost"
    NONE = "none is lost"
    WRITES = "some are lost"
    PAGES = "some pages of 4096 bytes are lost"
    SECTORS = "some sectors of 512 bytes are lost"


PIECE_BYTES = {Loss.PAGES: 4096, Loss.SECTORS: 512}


class Event:
    """One call.  Times are ns of time.monotonic_ns()."""

    __slots__ = ("kind", "begun", "ended", "file", "offset", "body")

    def __init__(self, kind, begun, ended, file, offset, body):
        self.kind, self.begun, self.ended = Kind(kind), begun, ended
        self.file, self.offset, self.body = file, offset, body

    @property
    def names(self):
        return self.body.decode().split("\0")


_library = None


def library():
    """The path of the recorder, compiled for this run."""
    global _library
    if _library is None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise Skip("needs a C compiler")
        place = subprocess.run(["mktemp", "-d", "-t", "grapevine-recorder-XXXXXX"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout.strip()
        harness.at_last(lambda: shutil.rmtree(place, ignore_errors=True))
        _library = os.path.join(place, "recorder.so")
        subprocess.run([compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", _library,
                        os.path.join(HERE, "recorder.c"), "-ldl"], check=True)
    return _library


def copy_directory(source, target):
    """Holes stay holes.  A directory that is not there makes one that is not there."""
    shutil.rmtree(target, ignore_errors=True)
    if os.path.isdir(source):
        subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


class Recording:
    """Of what a process does to `directory`, beginning with what is there now, which is copied.

    `place` is a folder for the copy and the journal.  env() is for the process.
    """

    def __init__(self, directory, place):
        self.directory = os.path.realpath(directory)
        self._before = os.path.join(place, "before")
        self._journal = os.path.join(place, "journal")
        os.makedirs(place, exist_ok=True)
        copy_directory(self.directory, self._before)

    def env(self):
        return {"LD_PRELOAD": library(), "GRAPEVINE_TEST_RECORD": self._journal,
                "GRAPEVINE_TEST_RECORD_DIRECTORY": self.directory}

    def events(self):
        """In the order in which they ended.  The last one may be cut off; it never came back."""
        found = []
        try:
            with open(self._journal, "rb") as journal:
                while len(head := journal.read(HEAD.size)) == HEAD.size:
                    magic, kind, begun, ended, file, offset, size = HEAD.unpack(head)
                    check(magic == MAGIC, "the journal of the recorder is not understood")
                    body = journal.read(size)
                    if len(body) < size:
                        break
                    found.append(Event(kind, begun, ended, file, offset, body))
        except FileNotFoundError:
            pass  # killed before it did anything
        return found

    def image(self, target, moment, random, loss=None):
        """Makes at `target` what a failure at this moment leaves; returns a description."""
        loss = loss or random.choice(list(Loss))
        return Image(self._before, self.events(), moment, random, loss).build(target)

    def check_complete(self, random):
        """Everything that was done has been recorded: doing it again makes the same files."""
        again = self._before + "-again"
        self.image(again, FOREVER, random, Loss.NONE)
        names = set(os.listdir(self.directory)) - {LOCKS}
        check(names == set(os.listdir(again)) - {LOCKS}, "the names of files were not recorded")
        for name in names:
            same = subprocess.run(["cmp", "-s", os.path.join(self.directory, name),
                                   os.path.join(again, name)], check=False).returncode
            check(same == 0, f"not all that was done to {name} was recorded")
        shutil.rmtree(again)


class Image:
    """One way in which a failure may end."""

    def __init__(self, before, events, moment, random, loss):
        self._before, self._moment, self._random, self._loss = before, moment, random, loss
        self._share = random.choice((0.1, 0.5, 0.9))
        self._events = [event for event in events if event.begun < moment]
        self._synced = {}  # number of a file: the syncs of it that were over, (begun, ended)
        self._lost = self._kept = 0

    def build(self, target):
        work = target + ".files"
        shutil.rmtree(work, ignore_errors=True)
        copy_directory(self._before, target)
        os.makedirs(work)
        paths = self._gather_files(target, work)
        self._find_syncs()
        for number, path in paths.items():
            self._write_file(number, path)
        self._name_files(target, paths)
        shutil.rmtree(work)
        return (f"power failure: {self._loss.value}, share {self._share}; of what was not synced "
                f"{self._lost} pieces are lost, {self._kept} are kept")

    # ---- files

    def _gather_files(self, target, work):
        """number: path of a file with what it had at first.  Their names are given later."""
        paths, self._names_before, self._numbers = {}, {}, {}
        for event in self._events:
            if event.kind in (Kind.RENAMED, Kind.UNLINKED):
                self._take_unopened(event.names[0], target, work, paths)
            is_file = event.kind in (Kind.OPENED, Kind.CREATED) and event.file != 0
            if not is_file or event.file in paths:
                continue
            name = event.names[0]
            self._numbers.setdefault(name, event.file)
            if name in (".", ".."):
                continue
            paths[event.file] = os.path.join(work, str(event.file))
            if event.kind is Kind.CREATED:
                open(paths[event.file], "wb").close()
            elif os.path.exists(os.path.join(target, name)):
                os.rename(os.path.join(target, name), paths[event.file])
                self._names_before[name] = event.file
            else:
                check(name not in self._names_before, f"{name} was opened without being there")
        return paths

    def _take_unopened(self, name, target, work, paths):
        """A file that is renamed or deleted without having been opened."""
        old, number = os.path.join(target, name), f"unopened-{name}"
        if os.path.exists(old):
            paths[number] = os.path.join(work, number)
            os.rename(old, paths[number])
            self._names_before[name] = number

    def _find_syncs(self):
        for event in self._events:
            if event.kind is Kind.SYNCED and event.ended <= self._moment:
                self._synced.setdefault(event.file, []).append(event)

    def _is_synced(self, event, number):
        if event.kind is Kind.WRITTEN_SYNCED and event.ended <= self._moment:
            return True
        return any(sync.begun >= event.ended for sync in self._synced.get(number, ()))

    def _write_file(self, number, path):
        changes = [event for event in self._events if event.file == number and event.kind in
                   (Kind.WRITTEN, Kind.WRITTEN_SYNCED, Kind.RESIZED, Kind.LENGTHENED)]
        kept = [event for event in changes if self._is_synced(event, number)]
        others = [event for event in changes if not self._is_synced(event, number)]
        with open(path, "r+b") as file:
            for change in kept + self._survivors(others):
                if change.kind is Kind.RESIZED:
                    file.truncate(change.offset)
                elif change.kind is Kind.LENGTHENED:
                    file.truncate(max(change.offset, file.seek(0, os.SEEK_END)))
                else:
                    file.seek(change.offset)
                    file.write(change.body)

    def _survivors(self, changes):
        """Those of the changes that were not synced that are on the disk all the same."""
        if self._loss is Loss.ALL:
            self._lost += len(changes)
            return []
        if self._loss is Loss.NONE:
            self._kept += len(changes)
            return changes
        pieces = [piece for change in changes for piece in self._pieces(change)]
        survivors = [piece for piece in pieces if self._random.random() < self._share]
        self._lost += len(pieces) - len(survivors)
        self._kept += len(survivors)
        self._random.shuffle(survivors)
        return survivors

    def _pieces(self, change):
        size = PIECE_BYTES.get(self._loss)
        if size is None or not change.body:
            return [change]
        edges = [change.offset]
        end = change.offset + len(change.body)
        while edges[-1] < end:
            edges.append(min(end, (edges[-1] // size + 1) * size))
        return [Event(change.kind, change.begun, change.ended, change.file, at,
                      change.body[at - change.offset:to - change.offset])
                for at, to in zip(edges, edges[1:])]

    # ---- names

    def _name_files(self, target, paths):
        """Applies what has happened to names, and moves the files to where they belong."""
        changes = [event for event in self._events
                   if event.kind in (Kind.CREATED, Kind.RENAMED, Kind.UNLINKED)]
        inside = [event for event in changes if event.names[0] != "."]
        if not self._survives_itself(changes):
            shutil.rmtree(target, ignore_errors=True)
            return
        os.makedirs(target, exist_ok=True)
        names = dict(self._names_before)
        for event in self._lasting(inside, self._numbers.get(".")):
            if event.kind is Kind.CREATED:
                names[event.names[0]] = event.file
            else:
                number = names.pop(event.names[0], None)
                if event.kind is Kind.RENAMED:
                    names[event.names[1]] = number
        for name, number in names.items():
            os.rename(paths[number], os.path.join(target, name))

    def _survives_itself(self, changes):
        """Whether the directory has a lasting name."""
        made = [event for event in changes if event.names[0] == "."]
        return not made or bool(self._lasting(made, self._numbers.get("..")))

    def _lasting(self, changes, directory):
        synced = [event for event in changes if self._is_synced(event, directory)]
        others = changes[len(synced):]
        count = {Loss.ALL: 0, Loss.NONE: len(others)}.get(self._loss)
        if count is None:
            count = self._random.randint(0, len(others))
        self._lost += len(others) - count
        return synced + others[:count]


class FailingNode(harness.Node):
    """A node whose machine loses its power whenever it ends, however it ends.

    What it finds at its next start is what the disk has kept.  The last few recordings stay in
    `recordings`, one folder for each life.
    """

    def __init__(self, random, **options):
        super().__init__(**options)
        self.data = os.path.realpath(self.data)
        self.told = []  # what became of the disk, life by life
        self.recordings = harness.folder("power")
        self._random = random
        self._recording = None
        self._ended_well = False
        self._life = 0

    def start(self, wait=True):
        self.lose_power()
        self._life += 1
        self._recording = Recording(self.data, self._place(self._life))
        shutil.rmtree(self._place(self._life - KEPT_LIVES), ignore_errors=True)
        self.env.update(self._recording.env())
        self._ended_well = True
        return super().start(wait)

    def kill9(self):
        self._ended_well = False
        super().kill9()

    def lose_power(self):
        """The node has ended.  Done by the next start, if not before."""
        if self._recording is None:
            return
        if self._ended_well:
            self._recording.check_complete(self._random)
        image = self.data + ".image"
        self.told.append(self._recording.image(image, FOREVER, self._random))
        self._recording = None
        shutil.rmtree(self.data, ignore_errors=True)
        if os.path.isdir(image):
            os.rename(image, self.data)

    def _place(self, life):
        return os.path.join(self.recordings, f"life-{life}")
