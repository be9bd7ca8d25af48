"""The deployment that crm_backend.py works with: tenant, server and operator as processes, and people in a browser."""

import asyncio
import html
import json
import os
import random
import re
import socket
import ssl
import subprocess
import urllib.parse

import httpx2

import story

BACK = "https://crm.contoso.com/oauth/callback"


class Deployment:
    """The tenant, the server on it, and the operator's command line: processes of the one program."""

    def __init__(self, program, folder, people, seconds):
        self.program, self.folder, self.data = program, folder, folder / "data"
        self.port, self.processes = free_port(), {}
        self.address = f"http://127.0.0.1:{self.port}"
        self.people_wanted, self.seconds = people, seconds

    async def start(self, request_log):
        # Twelve people in every group, and one plan a group: each plan is shared.
        size = f"plans={self.people_wanted // 11 + 1},tasks=20,people={self.people_wanted}"
        words = ["sim", "--port", "0", "--tls", self.folder / "tls", "--scenario", size]
        self.tenant = await self._run("tenant", words + (["--request-log", request_log] if request_log else []), {})
        self.settings = {
            "AZURE_TENANT_ID": self.tenant["tenant_id"],
            "AZURE_CLIENT_ID": self.tenant["client_id"],
            "AZURE_CLIENT_SECRET": self.tenant["client_secret"],
            "AZURE_AUTHORITY_HOST": self.tenant["https_authority_url"],
            "GRAPH_BASE_URL": self.tenant["https_graph_url"],
            "SSL_CERT_FILE": self.tenant["ca_pem"],
            "SIGN_IN_CLIENT_ID": self.tenant["client_id"],
            "PUBLIC_URL": f"{self.address}/",
            "ACCESS_TOKEN_SECONDS": str(self.seconds),
        }
        web = {"redirect_uris": {"web": [f"{self.address}/oauth/callback"]}}
        answer = httpx2.put(f"{self.tenant['control_url']}/entra/applications", json=web)
        answer.raise_for_status()
        self.ca = ssl.create_default_context(cafile=self.tenant["ca_pem"])

    async def serve(self):
        await self._run("server", ["serve", "--port", str(self.port)], self.settings | {"DATA_DIR": str(self.data)})

    def kill(self):
        self.processes["server"].kill()
        self.processes["server"].wait()

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    async def _run(self, name, words, settings):
        ready = self.folder / f"{name}.json"
        ready.unlink(missing_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            words = [self.program, *words, "--ready-file", ready]
            process = subprocess.Popen(words, env=os.environ | settings, stdout=log, stderr=log)
        self.processes[name] = process
        for _ in range(3000):
            if ready.exists():
                return json.loads(ready.read_text(encoding="utf-8"))
            if process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the {name} did not start: {self.log(name)}")

    def log(self, name):
        return "\n".join((self.folder / f"{name}.log").read_text(encoding="utf-8").splitlines()[-20:])

    async def operator(self, *words):
        """Runs `graphgate clients …` on the store, beside the server."""
        settings = os.environ | self.settings | {"DATA_DIR": str(self.data)}
        command = [self.program, "clients", *words, "-o", "json"]
        ran = await asyncio.to_thread(subprocess.run, command, env=settings, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{words}: {ran.stderr}")
        return json.loads(ran.stdout)

    async def event(self, upn, cause):
        """Something happens to a person's sessions at Microsoft."""
        async with httpx2.AsyncClient(timeout=30) as http:
            url, event = f"{self.tenant['control_url']}/entra/revoke", {"user": upn, "cause": cause}
            (await http.post(url, json=event)).raise_for_status()

    def refreshes(self):
        """How often Microsoft has refreshed a token of a person."""
        answer = httpx2.get(f"{self.tenant['control_url']}/stats")
        grants = answer.raise_for_status().json()["entra"].items()
        return sum(sum(by_status.values()) for name, by_status in grants if name.endswith("/token refresh_token"))

    def people(self):
        """The sign-in names of everybody in the tenant."""
        url = f"{self.tenant['graph_url']}/users?$select=userPrincipalName&$top=999"
        answer = httpx2.get(url, headers={"authorization": f"Bearer {story.token_of(self.tenant)}"})
        return [person["userPrincipalName"] for person in answer.raise_for_status().json()["value"]]


def free_port():
    """Outside the range from which the system gives ports to sockets: the server comes back to it."""
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


async def sign_in(deployment, gate, session, upn, scope=None, take_away=()):
    """A person in a browser: the CRM's button, GraphGate's page, Microsoft's, and back. Answers the query of the callback."""
    async with httpx2.AsyncClient(verify=deployment.ca, timeout=30) as browser:
        page = await browser.get(gate.connect(session, scope))
        chosen = [name for name in re.findall(r'name="([a-z]+\.(?:read|write))"', page.text) if name not in take_away]
        form = {"ticket": field(page.text, "ticket"), "answer": "allow", **dict.fromkeys(chosen, "on")}
        page = await browser.post(f"{deployment.address}/oauth/consent", data=form)
        who = {"user": upn, "answer": "yes", "mfa": "yes", "all": "yes"}
        while "/oauth2/v2.0/authorize" in page.headers["location"]:  # a second time where Microsoft wants more of a person
            page = await browser.post(page.headers["location"], data=who)
            form = {name: field(page.text, name) for name in ("code", "state")}
            page = await browser.post(f"{deployment.address}/oauth/callback", data=form)
        address, _, query = page.headers["location"].partition("?")
        assert address == BACK, page.headers["location"]
        return dict(urllib.parse.parse_qsl(query))


def field(page, name):
    return html.unescape(re.search(rf'name="?{name}"? value="([^"]*)"', page)[1])
