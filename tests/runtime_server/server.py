"""The HTTP side: a loopback server that speaks the Runtime REST API and misbehaves by script."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .account import CRN, Account
from .faults import Fault, FaultScript
from .programs import all_zeros
from .records import Clock, Job, RequestLog, RequestRecord
from .routes import PREFIX, Request, Response, respond
from .service import Service
from .simulate import sample
from .spoil import SPOILERS

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
SAMPLERS = {"aer": sample, "zeros": all_zeros}


class Hangup(Exception):
    """The connection is to be closed without an answer."""


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
        status: int | str = fault.name if fault else "?"
        try:
            response = owner.answer(request, fault, self.connection)
            status = response.status
            self._send(response, cut=fault is not None and fault.name == "cut_body")
        except (Hangup, ConnectionError):
            self.close_connection = True
        finally:
            owner.requests.add(
                RequestRecord(self.command, path, url.query, status, fault.action if fault else None, owner.clock.now())
            )

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
            raise Hangup

    def log_message(self, *args: Any) -> None:
        """Say nothing; the server keeps its own log."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: RuntimeServer):
        self.owner = owner
        super().__init__(address, Handler)

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
        """Let nobody connect until ``start`` is called again. Jobs go on."""
        listener, self._listener = self._listener, None
        if listener:
            listener.shutdown()
            listener.server_close()

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
        common = {"QISKIT_IBM_TOKEN": self._token, "QISKIT_IBM_INSTANCE": CRN, "QISKIT_IBM_CHANNEL": "ibm_quantum_platform"}
        if mode == "direct":
            urls = {"QISKIT_IBM_URL": here + "/experimental/api/v1", "IAM_URL": here, "QISKIT_FUNCTIONS_EXPERIMENTAL": "1"}
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

    # --- answering ----------------------------------------------------------------------------------------------

    def answer(self, request: Request, fault: Fault | None, connection: socket.socket) -> Response:
        """Answer a request the way its fault, if any, wants it."""
        if fault is None or fault.name == "job":
            return respond(self.service, self.account, request)
        if not fault.comes_after:
            early = self._misbehave_before(fault, connection)
            return early or respond(self.service, self.account, request)
        return self._misbehave_after(fault, respond(self.service, self.account, request), connection)

    def _misbehave_before(self, fault: Fault, connection: socket.socket) -> Response | None:
        """Fail without carrying the request out; None where it is only late."""
        match fault.name:
            case "status":
                return Response.of({"errors": [{"code": 0, "message": "injected"}]}, int(fault.argument))
            case "401":
                return Response.of({"errors": [{"code": 1200, "message": "The token has expired"}]}, 401)
            case "429":
                wait = fault.argument.partition("=")[2]
                body = Response.of({"errors": [{"code": 1212, "message": "Too many requests"}]}, 429)
                body.headers = {"Retry-After": wait} if wait else {}
                return body
            case "stall" | "delay":
                self._stopping.wait(float(fault.argument) if fault.argument else None)
                if self._stopping.is_set():
                    raise Hangup
                return None
            case "refuse":
                threading.Thread(target=self._refuse_for, args=(float(fault.argument or 1),), daemon=True).start()
                reset(connection)
            case "reset":
                reset(connection)
        raise Hangup

    def _misbehave_after(self, fault: Fault, response: Response, connection: socket.socket) -> Response:
        """Carry the request out, then fail."""
        match fault.name:
            case "status_after_accept":
                return Response.of({"errors": [{"code": 0, "message": "injected"}]}, int(fault.argument))
            case "html":
                return Response(200, HTML, "text/html")
            case "empty":
                return Response(200, b"", response.content_type)
            case "garbage":
                return Response(200, response.body[: len(response.body) // 2], response.content_type)
            case "unknown_status":
                body = response.body.replace(b'"Completed"', b'"Pondering"').replace(b'"Queued"', b'"Pondering"')
                return Response(response.status, body.replace(b'"Running"', b'"Pondering"'))
            case "cut_body":
                return response
            case "nan" | "wrong_shape" | "missing_pub":
                if response.status == 200 and response.body:
                    response.body = SPOILERS[fault.name](response.body.decode()).encode()
                return response
            case "stall_after":
                self._stopping.wait()
            case "reset_after":
                reset(connection)
        raise Hangup

    def _refuse_for(self, seconds: float) -> None:
        self.refuse()
        time.sleep(seconds)
        if not self._stopping.is_set():
            self.start()


def reset(connection: socket.socket) -> None:
    """Make the connection's end a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
