"""The Python SDK signs a person in. Usage: sign_in_mcp.py READY_FILE (and the environment of sign_in.sh)"""

import asyncio
import threading
import urllib.parse
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer

from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

import sign_in
import story


class Storage:
    """Keeps everything in memory, and every token that there was."""

    def __init__(self):
        self.kept, self.access_tokens, self.client = None, [], None

    async def get_tokens(self):
        return self.kept

    async def set_tokens(self, tokens):
        self.kept = tokens
        self.access_tokens.append(tokens.access_token)

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Landing(BaseHTTPRequestHandler):
    """Where the browser comes back to."""

    query = None

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/callback":
            Landing.query = dict(urllib.parse.parse_qsl(query))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You may close this page.")

    def log_message(self, *_):
        pass


async def opened(address):
    webbrowser.open(address)


async def landed():
    while Landing.query is None:
        await asyncio.sleep(0.05)
    return AuthorizationCodeResult(code=Landing.query["code"], state=Landing.query["state"], iss=Landing.query["iss"])


async def main():
    listener = HTTPServer(("127.0.0.1", 0), Landing)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url, storage = story.readiness()["mcp_url"], Storage()
    redirect = f"http://127.0.0.1:{listener.server_port}/callback"
    metadata = OAuthClientMetadata(client_name="Python SDK", redirect_uris=[redirect])
    auth = OAuthClientProvider(url, metadata, storage, redirect_handler=opened, callback_handler=landed)

    async with Client(streamable_http_client(url, http_client=create_mcp_http_client(auth=auth)), mode="auto") as client:

        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments)
            return result.is_error, result.structured_content

        await sign_in.twice("Python SDK", call, storage.access_tokens)


asyncio.run(main())
