"""A local server that speaks the IBM Quantum Compute (Runtime) REST API to the real client.

It listens on loopback only, offers fake devices under real names, runs jobs on Aer with their noise, counts what is
created, and breaks in the ways that ``faults`` describes::

    with RuntimeServer(devices=["ibm_brisbane"]) as server:
        server.faults.add("POST", "/jobs", "drop_after")
        subprocess.run(["qkd-qiskit", ...], env=os.environ | server.environment())
        assert server.jobs_created == 1
"""

from .faults import EVERYTHING as EVERYTHING
from .faults import Fault as Fault
from .faults import FaultScript as FaultScript
from .records import Job as Job
from .server import RuntimeServer as RuntimeServer

__all__ = ["EVERYTHING", "Fault", "FaultScript", "Job", "RuntimeServer"]
