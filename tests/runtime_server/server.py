"""The HTTP side: a loopback server that speaks the Runtime REST API and misbehaves by script."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from . import misbehave
from .account import CRN, Account
from .faults import Fault, FaultScript
from .programs import all_zeros
from .records import Clock, Job, RequestLog, RequestRecord
from .routes import PREFIX, Request, Response, respond
from .service import Service
from .simulate import sample

SAMPLERS = {"aer": sample, "zeros": all_zeros}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        """Answer any request: the routes tell the methods apart."""
        owner = self.server.owner
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = PREFIX.sub("", url.path)
        fault = owner.faults.strike(self.command, path)
        fate = fault.argument if fault and fault.name == "job" else None
        request = Request(self.command, path, url.query, body, self.headers.get("Authorization"), fate)
        record = RequestRecord(self.command, path, url.query, fault.action if fault else None, owner.clock.now())
        owner.requests.add(record)
        try:
            response = owner.answer(request, fault, self.connection)
            record.status = response.status
            self._send(response, cut=fault is not None and fault.name == "cut_body")
        except (misbehave.Hangup, ConnectionError):
            self.close_connection = True

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _send(self, response: Response, *, cut: bool) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body[: len(response.body) // 2] if cut else response.body)
        if cut:
            raise misbehave.Hangup

    def log_message(self, *args: Any) -> None:
        """Say nothing; the server keeps its own log."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: RuntimeServer):
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember each connection, so that all can be cut."""
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Break the connections that clients keep open."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about connections that the client or a fault has broken."""


class RuntimeServer:
    """The local stand-in for IBM's service.

    Use it as a context manager, hand ``environment()`` to the program under test, and look at ``jobs``, ``requests``
    and ``created_by_tag`` afterwards. ``faults``, ``clock``, ``queue_seconds`` and ``service`` steer it.

    Args:
        devices: Names of fake devices: ``ibm_brisbane``, ``ibm_torino``, ``ibm_manila``, ...
        port: 0 for any free one.
        token: The API key it accepts.
        plan: The account's plan; with ``open`` there are no sessions.
        sampling: ``aer`` for the device's noise, ``zeros`` where only the bookkeeping matters.
        seed: Of all that is random in it.
    """

    def __init__(
        self,
        devices: Sequence[str] = ("ibm_brisbane",),
        *,
        port: int = 0,
        token: str = "loopback-api-key",
        plan: str = "premium",
        sampling: str = "aer",
        seed: int = 0,
    ):
        self.service = Service(devices, sampler=SAMPLERS[sampling], plan=plan, seed=seed)
        self.account = Account(token, plan)
        self.faults = FaultScript(seed)
        self.requests = RequestLog()
        self._token = token
        self._stopping = threading.Event()
        self._listener: _Listener | None = None
        self._port = port

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> RuntimeServer:
        """Listen, in a thread of its own; the port stays the same over a refusal."""
        self._listener = _Listener(("127.0.0.1", self._port), self)
        self._port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def refuse(self) -> None:
        """Cut all connections and take no new one until ``start`` is called again. Jobs go on."""
        listener, self._listener = self._listener, None
        if listener:
            listener.shutdown()
            listener.server_close()
            listener.cut_all()

    def stop(self) -> None:
        """Go away for good; what is stalled lets go."""
        self._stopping.set()
        self.refuse()
        self.service.stop()

    def __enter__(self) -> RuntimeServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what a test asks and sets ------------------------------------------------------------------------------

    def environment(self, mode: str = "direct") -> dict[str, str]:
        """Return the variables that point an unmodified client here, ``direct`` or as its ``proxy``."""
        here = f"http://127.0.0.1:{self._port}"
        common = {
            "QISKIT_IBM_TOKEN": self._token,
            "QISKIT_IBM_INSTANCE": CRN,
            "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
        }
        if mode == "direct":
            urls = {
                "QISKIT_IBM_URL": here + "/experimental/api/v1",
                "IAM_URL": here,
                "QISKIT_FUNCTIONS_EXPERIMENTAL": "1",
            }
            return common | urls | {"no_proxy": "127.0.0.1"}
        if mode == "proxy":
            urls = {"QISKIT_IBM_URL": "http://cloud.test", "IAM_URL": "http://iam.cloud.test"}
            return common | urls | {"http_proxy": here, "no_proxy": ""}
        raise ValueError(f"mode must be 'direct' or 'proxy', got {mode!r}")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def clock(self) -> Clock:
        """The service's clock."""
        return self.service.clock

    @property
    def jobs(self) -> list[Job]:
        """All jobs that exist, oldest first."""
        return self.service.listing()

    @property
    def jobs_created(self) -> int:
        """How many jobs were ever created, deleted ones too."""
        return self.service.jobs_created

    @property
    def created_by_tag(self) -> Counter[str]:
        """How many jobs were created with each tag."""
        return self.service.created_by_tag

    @property
    def posts(self) -> int:
        """How many submissions came in, whatever became of them."""
        return self.requests.count("POST", "/jobs")

    @property
    def queue_seconds(self) -> float:
        """How long a job queues, by the service's clock; infinity holds all."""
        return self.service.queue_seconds

    @queue_seconds.setter
    def queue_seconds(self, seconds: float) -> None:
        self.service.queue_seconds = seconds

    def hold(self) -> None:
        """Keep every job in the queue, until ``release``."""
        self.queue_seconds = float("inf")

    def release(self) -> None:
        """Let the queue go."""
        self.queue_seconds = 0.0

    def revoke_token(self, revoked: bool = True) -> None:
        """Let the API key and all tokens issued for it count no more (or again)."""
        self.account.revoked = revoked

    def recalibrate(self, device: str, *, factor: float = 1.5) -> None:
        """Publish a new calibration of a device, readout errors times ``factor``."""
        self.service.device(device).recalibrate(self.clock.now(), factor=factor)

    # --- answering ----------------------------------------------------------------------------------------------

    def answer(self, request: Request, fault: Fault | None, connection: socket.socket) -> Response:
        """Answer a request the way its fault, if any, wants it."""
        early = None
        if fault and fault.name == "refuse":
            seconds = float(fault.argument or 1)
            threading.Thread(target=self._refuse_for, args=(seconds,), daemon=True).start()
        if fault and fault.name != "job" and not fault.comes_after:
            early = misbehave.before(fault, connection, self._stopping)
        response = early or respond(self.service, self.account, request)
        if fault and fault.name == "late":
            self.service.hide(json.loads(response.body)["id"], float(fault.argument))
        if fault and fault.comes_after:
            response = misbehave.after(fault, response, connection, self._stopping)
        return response

    def _refuse_for(self, seconds: float) -> None:
        self.refuse()
        self._stopping.wait(seconds)
        if not self._stopping.is_set():
            self.start()
