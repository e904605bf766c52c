"""Run the server until Ctrl-C: ``python -m tests.runtime_server --port 0 --device ibm_brisbane``."""

from __future__ import annotations

import argparse
import shlex
import threading

from .server import SAMPLERS, RuntimeServer


def main() -> None:
    """Start, print the export lines, wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.runtime_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any free port")
    parser.add_argument("--device", action="append", help="may be given more than once; default ibm_brisbane")
    parser.add_argument("--mode", choices=["direct", "proxy"], default="direct")
    parser.add_argument("--plan", default="premium", help="'open' has no sessions")
    parser.add_argument("--sampling", choices=sorted(SAMPLERS), default="aer")
    parser.add_argument("--queue-seconds", type=float, default=0.0)
    parser.add_argument("--fault", action="append", default=[], metavar="'METHOD PATH ACTION [TIMES]'")
    options = parser.parse_args()
    server = RuntimeServer(
        options.device or ["ibm_brisbane"], port=options.port, plan=options.plan, sampling=options.sampling
    )
    server.queue_seconds = options.queue_seconds
    for line in options.fault:
        method, path, action, *times = line.split()
        server.faults.add(method, path, action, times=int(times[0]) if times else 1)
    with server:
        for name, value in server.environment(options.mode).items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"# {server.jobs_created} jobs created, {server.posts} submissions", flush=True)


if __name__ == "__main__":
    main()
