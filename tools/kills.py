#!/usr/bin/env python3
"""Kills a training run many times, each time at a random moment, and goes on in a random other layout: at the end the
digest must be that of a run that was never disturbed.

    tools/kills.py [--kills 100] [--seed 1] [--steps 200] [--bin build/switchyard] [--mpirun 'mpirun ...'] [CONFIG]

Ranks are threads of the process, which SIGKILL ends at once; with --mpirun half of the layouts are processes, of which one at
random is killed. Runs that come to their end are compared, and another begins. Prints what was done and exits 0 if every
digest is right.
"""
import argparse
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

LAYOUTS = [  # (ranks, pipeline, expert parallel, shard)
    (1, 1, 1, 1), (2, 1, 1, 1), (2, 1, 2, 2), (2, 2, 1, 1), (3, 1, 1, 3), (4, 1, 2, 2), (4, 1, 4, 1), (4, 2, 2, 2),
    (4, 2, 1, 1), (6, 1, 3, 2), (6, 2, 1, 3), (8, 1, 8, 4), (8, 2, 2, 4), (8, 2, 4, 1),
]


def layout_flags(rng):
    ranks, pp, ep, shard = rng.choice(LAYOUTS)
    flags = [f"--parallelism.pipeline_parallel_degree={pp}", f"--parallelism.expert_parallel_degree={ep}",
             f"--parallelism.data_parallel_shard_degree={shard}",
             f"--parallelism.data_parallel_replicate_degree={ranks // pp // shard}",
             f"--activation_checkpoint.mode={rng.choice(['none', 'full', 'selective'])}",
             f"--training.local_batch_size={rng.choice([1, 2, 4])}", f"--run.threads={rng.choice([1, 2, 3])}"]
    return ranks, flags


def descendants(pid):
    """The processes below pid."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"/proc/{parent}/task/{task}/children") as f:
                    children = [int(c) for c in f.read().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def is_program(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip() == "switchyard"
    except OSError:
        return False


def kill_one(process, rng, over_mpi):
    victims = [p for p in descendants(process.pid) if is_program(p)] if over_mpi else [process.pid]
    if victims:
        os.kill(rng.choice(victims), signal.SIGKILL)


def digest_of(text):
    found = re.search(r"^digest of step \d+: ([0-9a-f]{32})$", text, re.M)
    return found.group(1) if found else None


class Kills:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.rng = random.Random(args.seed)
        self.kills = self.runs = self.wrong = 0
        self.seconds = 0.0

    def start(self, run, whole=False):
        ranks, flags = (1, ["--run.threads=2"]) if whole else layout_flags(self.rng)
        over_mpi = bool(self.args.mpirun) and not whole and self.rng.random() < 0.5
        train = [self.args.bin, "train", self.args.config, f"--run.dir={run}", f"--training.steps={self.args.steps}",
                 "--checkpoint.interval=7", "--checkpoint.keep_latest_k=2", *flags]
        command = shlex.split(self.args.mpirun) + ["-n", str(ranks)] + train if over_mpi else \
            train + [f"--run.ranks={ranks}"]
        self.said = tempfile.TemporaryFile("w+", dir=self.folder)
        return subprocess.Popen(command, stdout=self.said, stderr=subprocess.STDOUT, text=True), over_mpi

    def output(self):
        self.said.seek(0)
        return self.said.read()

    def undisturbed(self):
        begun = time.monotonic()
        process, _ = self.start(f"{self.folder}/whole", whole=True)
        process.wait()
        self.seconds = time.monotonic() - begun
        digest = digest_of(self.output())
        if process.returncode or not digest:
            sys.exit(f"kills.py: the undisturbed run failed:\n{self.output()}")
        return digest

    def one(self, run, digest, kill):
        """Goes on with a run, killing it on the way; whether it has come to its end."""
        process, over_mpi = self.start(run)
        if kill:
            try:
                process.wait(self.rng.uniform(0, 1.5 * self.seconds))
            except subprocess.TimeoutExpired:
                kill_one(process, self.rng, over_mpi)
                self.kills += 1
        process.wait()
        text = self.output()
        if process.returncode == 0 and digest_of(text):
            self.runs += 1
            if digest_of(text) != digest:
                self.wrong += 1
                print(f"WRONG: {run}: {digest_of(text)}, not {digest}\n{text}", flush=True)
            return True
        if process.returncode in (2, 3) or (process.returncode and not kill):
            sys.exit(f"kills.py: exit {process.returncode}:\n{text}")
        return False

    def all(self):
        digest = self.undisturbed()
        n = 0
        while self.kills < self.args.kills:
            run = f"{self.folder}/run{n}"
            while not self.one(run, digest, self.kills < self.args.kills):
                pass
            n += 1
            print(f"{self.kills} kills, {self.runs} runs came to their end, {self.wrong} with another digest", flush=True)
        return digest


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kills", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--bin", default="build/switchyard")
    p.add_argument("--mpirun", default="")
    p.add_argument("config", nargs="?", default="configs/micro_mla.toml")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(args, folder)
        digest = kills.all()
    print(f"{kills.kills} kills of {args.config}, {args.steps} steps: {kills.runs - kills.wrong} of {kills.runs} runs end with "
          f"{digest}")
    return kills.wrong > 0


if __name__ == "__main__":
    sys.exit(main())
