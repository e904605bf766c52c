"""What a fault does to an answer: before the request is carried out, or after."""

from __future__ import annotations

import socket
import struct
import threading

from .faults import Fault
from .routes import Response
from .spoil import SPOILERS

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class Hangup(Exception):
    """The connection is to be closed without an answer."""


def reset(connection: socket.socket) -> None:
    """Make the connection's end a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def injected(status: int, message: str = "injected") -> Response:
    """Return an error's answer."""
    return Response.of({"errors": [{"code": status, "message": message}]}, status)


def before(fault: Fault, connection: socket.socket, stopping: threading.Event) -> Response | None:
    """Fail without carrying the request out; None where the answer is only late.

    Raises:
        Hangup: Where there is to be no answer.
    """
    match fault.name:
        case "status":
            return injected(int(fault.argument))
        case "401":
            return injected(401, "The token has expired")
        case "429":
            response = injected(429, "Too many requests")
            wait = fault.argument.partition("=")[2]
            response.headers = {"Retry-After": wait} if wait else {}
            return response
        case "stall" | "delay":
            stopping.wait(float(fault.argument) if fault.argument else None)
            if stopping.is_set():
                raise Hangup
            return None
        case "reset" | "refuse":
            reset(connection)
    raise Hangup


def after(fault: Fault, response: Response, connection: socket.socket, stopping: threading.Event) -> Response:
    """Fail although the request has been carried out.

    Raises:
        Hangup: Where there is to be no answer.
    """
    match fault.name:
        case "status_after_accept":
            return injected(int(fault.argument))
        case "html":
            return Response(200, HTML, "text/html")
        case "empty":
            return Response(200, b"", response.content_type)
        case "garbage":
            return Response(200, response.body[: len(response.body) // 2], response.content_type)
        case "unknown_status":
            for known in (b'"Queued"', b'"Running"', b'"Completed"'):
                response.body = response.body.replace(known, b'"Pondering"')
            return response
        case "cut_body":
            return response  # the handler sends half of it
        case spoiler if spoiler in SPOILERS:
            if response.status == 200 and response.body:
                response.body = SPOILERS[spoiler](response.body.decode()).encode()
            return response
        case "stall_after":
            stopping.wait()
        case "reset_after":
            reset(connection)
    raise Hangup
