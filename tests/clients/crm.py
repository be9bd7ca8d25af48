"""A CRM's backend as an OAuth client of GraphGate: one authorization for each of its users, and no token of Microsoft.

docs/crm.md shows parts of this file, word for word; crm_backend.py is the proof that runs it.
"""

import asyncio
import base64
import collections
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import sqlite3
import time
import urllib.parse

import httpx2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mcp import MCPError, types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

EARLY = 0.5  # of a token's life: it is refreshed from then on, while it still opens everything
PATIENCE = 20  # seconds that a call waits for a server that restarts; who has to wait longer is told so


class Reconnect(Exception):
    """The user has to press the button (again)."""


class Missing(Exception):
    """The user has not let the CRM do this: connect again with the scopes that are the argument."""


class Later(Exception):
    """GraphGate does not answer, or an operator has paused the CRM. Nothing is lost: repeat it after so many seconds."""


class Broken(Exception):
    """The connection broke during a call, which may have been done, and must not be done twice."""


FAILURES = {kind.__name__: kind for kind in (Reconnect, Missing, Later, Broken)}


class Tokens:
    """What the CRM keeps of its users: sealed, each row for its user alone."""

    def __init__(self, path, key):
        self.rows, self.key = sqlite3.connect(path, isolation_level=None), AESGCM(key)
        self.rows.execute("CREATE TABLE IF NOT EXISTS tokens (user TEXT PRIMARY KEY, sealed BLOB)")

    def put(self, user, tokens):
        nonce = os.urandom(12)
        sealed = nonce + self.key.encrypt(nonce, json.dumps(tokens).encode(), user.encode())
        self.rows.execute("REPLACE INTO tokens VALUES (?, ?)", (user, sealed))

    def get(self, user):
        row = self.rows.execute("SELECT sealed FROM tokens WHERE user = ?", (user,)).fetchone()
        return json.loads(self.key.decrypt(row[0][:12], row[0][12:], user.encode())) if row else None

    def remove(self, user):
        self.rows.execute("DELETE FROM tokens WHERE user = ?", (user,))


async def patiently(send, patience, again=httpx2.ConnectError):
    """What `send` is answered in the end: a server that restarts refuses connections, one that is busy says for how long."""
    until, pause = time.monotonic() + patience, 0.25
    while True:
        try:
            answer = await send()
            if answer.status_code not in (429, 503):
                return answer
            if b'"changed":"unknown"' in await answer.aread():
                return answer  # the caller knows whether it may be sent twice
            told = answer.headers.get("retry-after", "")
            wait = float(told) if told.isdigit() else pause
        except again:
            wait = pause
        if time.monotonic() + wait > until:
            raise Later(wait)
        await asyncio.sleep(wait * random.uniform(1, 1.2))
        pause = min(2 * pause, 5)


class GraphGate:
    """GraphGate, as this backend uses it."""

    def __init__(self, address, client, secret, redirect_uri, scope, tokens, wire=None):
        self.address, self.resource = address, f"{address}/mcp"
        self.client, self.secret, self.redirect_uri, self.scope = client, secret, redirect_uri, scope
        self.tokens, self.locks = tokens, collections.defaultdict(asyncio.Lock)
        self.wire = wire or httpx2.AsyncHTTPTransport()  # one pool of connections for all users
        self.http = httpx2.AsyncClient(transport=self.wire, timeout=30)
        self.connections, self.listed = {}, {}

    async def start(self):
        """Learns the endpoints from the address."""
        answer = await self.http.get(f"{self.address}/.well-known/oauth-authorization-server")
        self.metadata = answer.raise_for_status().json()

    def connect(self, session, scope=None):
        """The button: where the user's browser goes."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        session["connecting"] = {"verifier": verifier, "state": state}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        query = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": self.redirect_uri,
            "scope": scope or self.scope,
            "resource": self.resource,
            "state": state,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        return f"{self.metadata['authorization_endpoint']}?{urllib.parse.urlencode(query)}"

    async def callback(self, session, query):
        """The user is back, with `query`. Answers as whom the CRM acts, for the user to see."""
        begun = session.pop("connecting", {"state": ""})
        same_state = begun["state"] and hmac.compare_digest(query.get("state", ""), begun["state"])
        if not same_state or query.get("iss") != self.metadata["issuer"]:
            raise Reconnect("this is not the answer to what this user began")
        if "code" not in query:
            raise Reconnect(query.get("error_description", "no code came back"))  # the user said no, say
        user, fields = session["user"], {"code": query["code"], "redirect_uri": self.redirect_uri}
        redeem = lambda: self._token("authorization_code", {"code_verifier": begun["verifier"], **fields})
        async with self.locks[user]:
            before = self.tokens.get(user)
            try:
                answer = await patiently(redeem, PATIENCE)
            except httpx2.TransportError as broken:
                # Not sent again: a code that comes twice ends what it was given for.
                raise Reconnect("the answer was lost") from broken
            self._put(user, self._granted(answer))
        if before:
            with contextlib.suppress(Later):
                await self._revoke(before)
        self.listed.pop(user, None)  # other scopes, other tools
        return (await self.get(user, "/mcp/status")).json()["ms365"]["as"]

    async def disconnect(self, user):
        """The user disconnects: the tokens end, of whatever age."""
        async with self.locks[user]:
            if kept := self.tokens.get(user):
                await self._revoke(kept)
                self.tokens.remove(user)

    async def _revoke(self, kept):
        endpoint, fields = self.metadata["revocation_endpoint"], {"token": kept["refresh_token"]}
        revoke = lambda: self.http.post(endpoint, data=fields, auth=(self.client, self.secret))
        (await patiently(revoke, PATIENCE, httpx2.TransportError)).raise_for_status()

    async def access_token(self, user, refused=None):
        """A token that is good for a while; `refused` is one that was answered with 401."""
        async with self.locks[user]:
            kept = self.tokens.get(user)
            if kept is None:
                raise Reconnect("the user has not connected Microsoft 365")
            good = kept["access_token"] != refused
            if good and time.time() < kept["early"]:
                return kept["access_token"]
            good = good and time.time() < kept["ends"]
            refresh = lambda: self._token("refresh_token", {"refresh_token": kept["refresh_token"]})
            try:
                # An answer that was lost is asked for again: the successor is the same until it has been used.
                answer = await patiently(refresh, 0 if good else PATIENCE, httpx2.TransportError)
                return self._put(user, self._granted(answer))["access_token"]
            except Later:
                if good:
                    return kept["access_token"]
                raise
            except Reconnect:
                self.tokens.remove(user)  # Microsoft, the user or an operator has ended it
                raise

    async def _token(self, grant, fields):
        fields = {"grant_type": grant, "resource": self.resource, **fields}
        return await self.http.post(self.metadata["token_endpoint"], data=fields, auth=(self.client, self.secret))

    def _granted(self, answer):
        body = answer.json()
        if body.get("error") == "invalid_grant":
            raise Reconnect(body["error_description"])
        answer.raise_for_status()
        return body

    def _put(self, user, granted):
        now, life = time.time(), granted["expires_in"]
        names = ("access_token", "refresh_token", "scope")
        kept = {name: granted[name] for name in names} | {"early": now + EARLY * life, "ends": now + life}
        self.tokens.put(user, kept)
        return kept

    async def connection(self, user):
        """The user's MCP connection. It makes no request of its own, so that a restart of the server does not end it."""
        if user not in self.connections:
            opened = asyncio.get_running_loop().create_future()
            self.connections[user] = (asyncio.create_task(self._hold(user, opened)), opened)
        return await asyncio.shield(self.connections[user][1])

    async def _hold(self, user, opened):
        http = httpx2.AsyncClient(transport=ForMcp(self, user), timeout=60)
        wire = streamable_http_client(self.resource, http_client=http)
        try:
            async with http, Client(wire, mode="2026-07-28") as client:
                opened.set_result(client)
                await asyncio.Event().wait()  # until this task is cancelled
        finally:
            del self.connections[user]

    async def tools(self, user):
        """The tools that this user may call, by name; asked for again after `ttlMs`, which is five minutes."""
        until, tools = self.listed.get(user, (0, {}))
        if time.monotonic() >= until:
            answer = await self._mcp((await self.connection(user)).list_tools(cache_mode="refresh"))
            tools = {tool.name: tool for tool in answer.tools}
            self.listed[user] = (time.monotonic() + (answer.ttl_ms or 0) / 1000, tools)
        return tools

    async def _mcp(self, sent):
        try:
            return await sent
        except MCPError as error:
            data = error.error.data or {}
            if data.get("failure") in FAILURES:
                raise FAILURES[data["failure"]](*data["arguments"]) from error
            if error.error.code == types.CONNECTION_CLOSED:
                raise Broken("the connection has ended") from error
            raise

    async def call(self, user, tool, arguments):
        """Calls a tool over MCP; answers whether it refused, and what it said."""

        async def send():
            result = await self._mcp((await self.connection(user)).call_tool(tool, arguments))
            return result.is_error, result.structured_content

        return await self._answered(user, tool, arguments, send)

    async def post(self, user, tool, arguments):
        """The same over REST."""

        async def send():
            async with self._as(user) as http:
                answer = await http.post(f"{self.address}/api/tools/{tool}", json=arguments)
            body = answer.json()
            return answer.is_error, {"error": body} if answer.is_error else body

        return await self._answered(user, tool, arguments, send)

    async def get(self, user, path):
        """Reads something else over REST."""
        async with self._as(user) as http:
            return await http.get(f"{self.address}{path}")

    def _as(self, user):
        return httpx2.AsyncClient(transport=ForUser(self, user), timeout=60)

    async def _answered(self, user, tool, arguments, send):
        """Sends a call until it is answered, but not twice where it would be done twice."""
        listed = (await self.tools(user)).get(tool)
        hints = listed and listed.annotations
        twice = "idempotency_key" in arguments or (hints and (hints.read_only_hint or hints.idempotent_hint))
        until, pause = time.monotonic() + PATIENCE, 0.25
        while True:
            try:
                refused, said = await send()
                error = said["error"] if refused else {}
                if not (twice and error.get("retryable")):
                    return refused, said
                wait = error.get("retry_after_seconds", 1)
            except (Broken, httpx2.HTTPError) as broken:
                if not twice:
                    raise Broken from broken
                wait = pause
            if time.monotonic() + wait > until:
                raise Later(wait)
            await asyncio.sleep(wait)
            pause = min(2 * pause, 5)


class ForUser(httpx2.AsyncBaseTransport):
    """Sends requests with a user's token."""

    def __init__(self, gate, user):
        self.gate, self.user = gate, user

    async def handle_async_request(self, request):
        token = None

        async def send():
            nonlocal token
            token = await self.gate.access_token(self.user, refused)
            request.headers["authorization"] = f"Bearer {token}"
            request.headers["x-user-id"] = self.user  # the CRM's own name for the user: it decides nothing
            return await self.gate.wire.handle_async_request(request)

        refused, again = None, httpx2.TransportError if request.method == "GET" else httpx2.ConnectError
        answer = await patiently(send, PATIENCE, again)
        if answer.status_code == 401:
            await answer.aread()
            refused = token
            answer = await patiently(send, PATIENCE, again)
            if answer.status_code == 401:
                raise Reconnect("GraphGate does not take the user's token")
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status_code == 403 and (scope := re.search('error="insufficient_scope".* scope="([^"]*)"', challenge)):
            raise Missing(scope[1])
        return answer


class ForMcp(ForUser):
    """The same for the SDK, for which every refusal by HTTP is one error: what went wrong goes through it as data."""

    async def handle_async_request(self, request):
        try:
            answer = await super().handle_async_request(request)
            if answer.headers.get("content-type", "").startswith("application/json"):
                await answer.aread()  # a connection that breaks, breaks here
            return answer
        except httpx2.HTTPError as broken:
            failure = Broken(str(broken))
        except tuple(FAILURES.values()) as known:
            failure = known
        data = {"failure": type(failure).__name__, "arguments": failure.args}
        error = {"code": -32000, "message": str(failure), "data": data}
        return httpx2.Response(400, json={"jsonrpc": "2.0", "id": None, "error": error})
