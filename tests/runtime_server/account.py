"""The account's side of the cloud: keys for tokens, the search for instances, the catalogue of plans."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

from .records import ApiError

PLAN_ID = "850b6d1c-2f5b-4b0c-8c39-2c4c2ec47c1c"
CRN = (
    "crn:v1:bluemix:public:quantum-computing:us-east:"
    "a/0123456789abcdef0123456789abcdef:11112222-3333-4444-5555-666677778888::"
)
INSTANCE_NAME = "loopback"
PRICING = {"open": "free"}


class Account:
    """Who may come in. Keys and tokens are kept as hashes only."""

    def __init__(self, token: str, plan: str):
        self._key, self.plan = digest(token), plan
        self._issued: set[str] = set()
        self.revoked = False

    def identity_token(self, form: bytes) -> dict[str, Any]:
        """Answer ``POST /identity/token``: trade the API key for a token that lasts an hour."""
        key = parse_qs(form.decode()).get("apikey", [""])[0]
        if self.revoked or digest(key) != self._key:
            raise ApiError(400, 400, "BXNIM0415E: Provided API key could not be found.")
        now = int(time.time())
        claims = {"iat": now, "exp": now + 3600, "jti": secrets.token_hex(8)}
        token = ".".join(base64url(part) for part in ({"alg": "HS256", "typ": "JWT"}, claims, {}))
        self._issued.add(digest(token))
        return {
            "access_token": token,
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": 3600,
            "expiration": now + 3600,
            "scope": "ibm openid",
        }

    def check(self, authorization: str | None) -> None:
        """Refuse a request whose token was not issued here, or was revoked."""
        kind, _, token = (authorization or "").partition(" ")
        if self.revoked or kind != "Bearer" or digest(token) not in self._issued:
            raise ApiError(401, 1200, "The token is invalid or has expired")

    def search(self) -> dict[str, Any]:
        """Answer the global search: the account's one instance."""
        item = {
            "crn": CRN,
            "name": INSTANCE_NAME,
            "service_plan_unique_id": PLAN_ID,
            "doc": {"extensions": {"allocation": 600}},
            "tags": [],
        }
        return {"items": [item], "limit": 100}

    def catalog(self) -> dict[str, Any]:
        """Answer the global catalogue about the plan."""
        return {
            "id": PLAN_ID,
            "name": self.plan,
            "kind": "plan",
            "overview_ui": {"en": {"display_name": self.plan.title()}},
            "metadata": {"pricing": {"type": PRICING.get(self.plan, "paygo")}},
        }

    def instances(self) -> dict[str, Any]:
        """Answer the resource controller."""
        return {"rows_count": 1, "resources": [{"crn": CRN, "name": INSTANCE_NAME}]}


def digest(text: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()


def base64url(part: dict[str, Any]) -> str:
    """Encode one part of a JSON web token."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
