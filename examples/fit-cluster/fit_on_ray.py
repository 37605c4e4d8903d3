#!/usr/bin/env python3
"""Runs the jobs of `secateur fit --plan DIR` on a Ray cluster, or on this machine alone, and collects them.

    fit_on_ray.py DIR [--secateur PATH] [--workers N]

Each job is a file that knows nothing of the others, so it may be run again anywhere: Ray does so when a worker dies. All
machines need the folder under the same path (a shared disk) and the same version of `secateur`.
"""

import argparse
import pathlib
import subprocess
import sys

import ray


@ray.remote(num_cpus=1, max_retries=3)
def run(secateur, job):
    """One job; a worker that dies takes nothing with it, as a result is written whole or not at all."""
    done = subprocess.run([secateur, "fit", "--job", str(job)], capture_output=True, text=True)
    return job.name, done.returncode, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--secateur", default="secateur", help="the command line, on every machine")
    parser.add_argument("--workers", type=int, help="workers on this machine, where no cluster is named")
    parser.add_argument("--address", help="a Ray cluster, as `auto`; without one Ray starts here")
    args = parser.parse_args()
    folder = args.folder.resolve()
    jobs = sorted((folder / "jobs").glob("*.json"))
    jobs = [job for job in jobs if not (folder / "trials" / job.name).exists()]
    if args.address:
        ray.init(address=args.address, log_to_driver=False)
    else:
        ray.init(num_cpus=args.workers, include_dashboard=False, log_to_driver=False)
    waiting = [run.remote(args.secateur, job) for job in jobs]
    failed = 0
    while waiting:
        ended, waiting = ray.wait(waiting)
        name, code, said = ray.get(ended[0])
        failed += code != 0
        print(f"{len(jobs) - len(waiting)} of {len(jobs)}: {name}" + (f" failed: {said}" if code else ""), flush=True)
    ray.shutdown()
    if failed:
        print(f"{failed} jobs failed; `--collect` tries them here", file=sys.stderr)
    sys.exit(subprocess.run([args.secateur, "fit", "--collect", str(folder)]).returncode)


if __name__ == "__main__":
    main()
