"""A loopback Hugging Face sign-in: python tests/fakes/oauth.py [PORT] prints its port; `&as=NAME` is who signs in."""

from __future__ import annotations

import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "studio-client"
KEY = RSAKey.generate_key(2048, parameters={"kid": "fake"})
codes: dict[str, dict[str, str]] = {}
tokens: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    """Authorization code flow with a signed id token."""

    server: ThreadingHTTPServer

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(place.query).items()}
        if place.path == "/.well-known/openid-configuration":
            self._json({"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/oauth/authorize",
                        "token_endpoint": f"{self.issuer}/oauth/token",
                        "userinfo_endpoint": f"{self.issuer}/oauth/userinfo", "jwks_uri": f"{self.issuer}/jwks",
                        "id_token_signing_alg_values_supported": ["RS256"]})
        elif place.path == "/jwks":
            self._json({"keys": [KEY.as_dict(private=False)]})
        elif place.path == "/oauth/authorize":
            code = secrets.token_urlsafe(8)
            codes[code] = {"user": query.get("as", "ada"), "nonce": query.get("nonce", "")}
            back = f"{query['redirect_uri']}&{urlencode({'code': code, 'state': query['state']})}"
            self.send_response(302)
            self.send_header("location", back)
            self.end_headers()
        elif place.path == "/oauth/userinfo":
            user = tokens.get(self.headers.get("authorization", "").removeprefix("Bearer "))
            self._json(person(user) if user else {"error": "invalid_token"}, 200 if user else 401)
        else:
            self._json({"error": "not_found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        code = parse_qs(body).get("code", [""])[0]
        known = codes.pop(code, None)
        if urlsplit(self.path).path != "/oauth/token" or known is None:
            self._json({"error": "invalid_grant"}, 400)
            return
        token, now = f"hf_oauth_{known['user']}_{secrets.token_hex(8)}", int(time.time())
        tokens[token] = known["user"]
        claims = {**person(known["user"]), "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 3600,
                  "nonce": known["nonce"]}
        id_token = jwt.encode({"alg": "RS256", "kid": "fake"}, claims, KEY)
        self._json({"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": "openid profile",
                    "id_token": id_token})

    def _json(self, data: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def person(name: str) -> dict[str, Any]:
    """What the Hub says about a user."""
    return {"sub": f"id-of-{name}", "name": name.title(), "preferred_username": name, "email_verified": True,
            "profile": f"https://hub.invalid/{name}", "picture": "", "website": "", "isPro": False, "orgs": []}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
