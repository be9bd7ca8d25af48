"""Proves the scripts that azd runs around a deployment, and those a person runs after it, without Azure: `azure.py`, `graphgate.py` and
`App` stand in for the Azure CLI, the packaged program and the deployed app.

Usage: hooks.py
"""

import concurrent.futures
import contextlib
import http.server
import json
import os
import pathlib
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import threading

from azure import Azure

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TENANT, IDENTITY = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
REPLACED, SITE = "33333333-3333-3333-3333-333333333333", "func-graphgate-abc"
NAME = f"GraphGate sign-in {SITE}"
WRITES = (" create", " add", " update", " reset", " set ", "POST", "PATCH")
SHOWN_KEY = "gg_1a2b3c4d_secret"
AZ = """#!/usr/bin/env bash
set -euo pipefail
said=$(printf '%s\\0' "$@" | curl --silent --data-binary @- --write-out '%{http_code}' "$AZ")
case $said in
  *200) printf '%s' "${said%200}" ;;
  *) printf '%s' "${said%???}" >&2; exit 1 ;;
esac
"""
AZD = """#!/usr/bin/env bash
set -euo pipefail
printf '%s\\n' "$*" >>"$AZD_CALLS"
[ -z "${AZD_FAILS:-}" ]
"""


class Deployment:
    """A provisioned deployment, and the machine of the person who deploys it."""

    def __init__(self, settings=None, **trouble):
        self.azure = Azure(TENANT, settings or {"PUBLIC_URL": "https://gate"})
        self.change(**trouble)
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=FOLDER.name))
        self.azd_calls = self.folder / "azd"
        self.azd_calls.touch()
        (self.folder / "bin").mkdir()
        for name, text in (("az", AZ), ("azd", AZD), ("rustc", "#!/bin/sh\necho /nowhere\n")):
            program = self.folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)
        self.address = serve(Cli, azure=self.azure)
        self.settings = {
            "AZURE_TENANT_ID": TENANT, "AZURE_RESOURCE_GROUP": "rg-x", "AZURE_FUNCTION_NAME": SITE, "AZURE_ENV_NAME": "prod",
            "AZURE_SUBSCRIPTION_ID": "sub", "MANAGED_IDENTITY_PRINCIPAL_ID": IDENTITY, "GRAPHGATE_URL": "https://gate.contoso.com",
            "AZURE_TABLES_ENDPOINT": "https://stgg.table.core.windows.net/", "PACKAGE_DIST": str(self.folder / "dist"),
        }  # fmt: skip

    def change(self, **members):
        for name, value in members.items():
            setattr(self.azure, name, value)

    def environment(self, settings):
        own = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder), "AZ": self.address}
        own |= {"AZD_CALLS": str(self.azd_calls), "REGISTER_PAUSE": "0", "KEY_PAUSE": "0"}
        return own | self.settings | settings

    def run(self, command, terminal=False, **settings):
        """Runs a script; returns how it ended and all it said. With `terminal`, its standard output is one."""
        words = ["bash", str(ROOT / "scripts" / command[0]), *command[1:]]
        if not terminal:
            ran = subprocess.run(
                words, env=self.environment(settings), capture_output=True, text=True, cwd=self.folder, timeout=60, check=False
            )
            return ran.returncode, ran.stdout + ran.stderr
        ours, theirs = pty.openpty()
        with subprocess.Popen(words, env=self.environment(settings), stdout=theirs, stderr=theirs, cwd=self.folder) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # how the end is told
                while some := os.read(ours, 65536):
                    said += some
            os.close(ours)
        return process.returncode, said.decode().replace("\r\n", "\n")

    def hook(self, **settings):
        """Runs the hook after `azd provision`, which never ends the deployment."""
        status, said = self.run(["register-sign-in.sh"], **settings)
        check(status == 0, said)
        return said

    def provision(self):
        """What `azd provision` writes: the settings again, with the application that the azd environment names."""
        known = self.known()
        self.change(settings={"PUBLIC_URL": "https://gate"} | ({"SIGN_IN_CLIENT_ID": known} if known else {}))

    def known(self):
        """The application that the azd environment names."""
        calls = [line for line in self.azd_calls.read_text(encoding="utf-8").splitlines() if "SIGN_IN_CLIENT_ID" in line]
        return calls[-1].split()[3] if calls else ""

    def writes(self):
        return [line for line in self.azure.calls if any(word in line for word in WRITES)]

    def package(self, **members):
        """A package whose program is the stand-in."""
        dist = self.folder / "dist"
        dist.mkdir(exist_ok=True)
        program = (HERE / "graphgate.py").read_text(encoding="utf-8")
        (dist / "graphgate").write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        (dist / "graphgate").chmod(0o755)
        (dist / "keys.json").write_text(json.dumps({"keys": [], "calls": 0, "refuse": 0, "lose": False} | members))
        return dist

    def keys(self):
        return json.loads((self.folder / "dist" / "keys.json").read_text())


def check(true, said):
    if not true:
        raise AssertionError(said)


def complete(deployment, subject=IDENTITY):
    """Checks that people can sign in: one application of the deployment's name, with everything it needs and no secret."""
    azure = deployment.azure
    check(len(azure.apps) == len(azure.principals) == 1, vars(azure))
    (app,) = azure.apps
    check(app["displayName"] == NAME and app["signInAudience"] == "AzureADMyOrg", app)
    check(app["web"]["redirectUris"] == ["https://gate.contoso.com/oauth/callback"], app)
    trusted = {"name": "managed-identity", "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0"}
    check(app["federated"] == [trusted | {"subject": subject, "audiences": ["api://AzureADTokenExchange"]}], app)
    check(not app["passwordCredentials"] and not app["keyCredentials"], app)
    check(len(app["requiredResourceAccess"]) == 1, app)
    asked = app["requiredResourceAccess"][0]["resourceAccess"]
    check(len(asked) == 4 and all(access["type"] == "Scope" for access in asked), asked)
    check(not azure.roles and not azure.grants, vars(azure))
    check(azure.settings["SIGN_IN_CLIENT_ID"] == app["appId"] == deployment.known(), vars(azure))
    check(deployment.azd_calls.read_text().endswith(" --environment prod\n"), deployment.azd_calls.read_text())
    return app["appId"]


def line_of(said):
    """The one line that an administrator runs."""
    lines = [line.strip() for line in said.splitlines() if "scripts/register-entra-app.sh" in line]
    check(len(lines) == 1, said)
    words = shlex.split(lines[0])
    return [words[0].removeprefix("scripts/"), *words[1:]]


def hook_registers_once():
    deployment = Deployment()
    said = deployment.hook()
    client_id = complete(deployment)
    check("registered" in said and f"--client-id {client_id} --admin-consent" in said, said)
    before = deployment.writes()
    for settings in ({}, {"SIGN_IN_CLIENT_ID": client_id}):
        deployment.provision()
        said = deployment.hook(**settings)
        check("found " in said and complete(deployment) == client_id, said)
    check(deployment.writes() == before, deployment.writes())


def hook_prints_one_line_where_it_may_not_register():
    for deny in ("ad app create", "ad app federated-credential create", "ad sp create", "ad app permission", "ad app list"):
        deployment = Deployment(deny=[deny])
        said = deployment.hook()
        check("people cannot sign in yet" in said and "azd env set SIGN_IN_CLIENT_ID ID && azd provision" in said, said)
        check("asks for" not in said, "nothing is reported before it is done")
        check("Insufficient privileges" in said and "SIGN_IN_CLIENT_ID" not in deployment.azure.settings, said)
        # An administrator runs it; the person who deploys says the id, and may only read.
        deployment.change(deny=[])
        status, told = deployment.run(line_of(said))
        check(status == 0, told)
        client_id = re.search("^SIGN_IN_CLIENT_ID=(.*)$", told, re.MULTILINE).group(1)
        deployment.change(deny=["ad app create", "ad app update", "ad app permission", "ad app federated-credential create", "ad sp create"])
        deployment.azd_calls.write_text(f"env set SIGN_IN_CLIENT_ID {client_id} --environment prod\n")
        deployment.provision()
        said = deployment.hook(SIGN_IN_CLIENT_ID=client_id)
        check(complete(deployment) == client_id and "cannot" not in said, said)


def hook_goes_on_after_a_lost_answer():
    whole = Deployment()
    whole.hook()
    lost = [line for line in whole.writes() if line.startswith("ad ")]
    check(len(lost) == 5, lost)
    for line in lost:
        deployment = Deployment(lose=" ".join(line.split(" --")[0].split()))
        said = deployment.hook()
        check("the answer did not come" in said and "register-entra-app.sh" in said, said)
        deployment.hook()
        complete(deployment)
    # The answers of the app and of azd.
    deployment = Deployment(lose="functionapp config appsettings set")
    check("azd provision tells it" in deployment.hook(), "app")
    deployment.provision()
    deployment.hook(SIGN_IN_CLIENT_ID=deployment.known())
    complete(deployment)
    deployment = Deployment()
    check("azd env set SIGN_IN_CLIENT_ID" in deployment.hook(AZD_FAILS="yes"), "azd")
    deployment.hook()
    complete(deployment)


def hook_waits_until_the_directory_shows_what_is_new():
    deployment = Deployment(lag=5)
    deployment.hook()
    complete(deployment)


def hook_replaces_the_credential_of_an_identity_that_is_gone():
    deployment = Deployment()
    deployment.hook()
    deployment.provision()
    deployment.hook(MANAGED_IDENTITY_PRINCIPAL_ID=REPLACED, SIGN_IN_CLIENT_ID=deployment.known())
    complete(deployment, REPLACED)


def hook_leaves_other_tenants_and_levels_alone():
    deployment = Deployment(tenant="99999999-9999-9999-9999-999999999999")
    said = deployment.hook()
    check("az is signed in to tenant 9999" in said and not deployment.writes(), said)
    for settings, word in (({"HTTP_AUTH_LEVEL": "function"}, "clients cannot sign in"), ({"REGISTER_SIGN_IN": "false"}, "is false")):
        deployment = Deployment()
        said = deployment.hook(**settings)
        check(word in said and not deployment.azure.calls, said)


def hook_completes_an_application_that_is_named():
    deployment = Deployment()
    deployment.run(["register-entra-app.sh", "--name", "Ours", "--secret-file", str(deployment.folder / "secret"), "--toolsets", "planner"])
    (app,) = deployment.azure.apps
    app["web"]["redirectUris"] = ["https://old.contoso.com/oauth/callback"]
    deployment.change(apps=[app])
    said = deployment.hook(SIGN_IN_CLIENT_ID=app["appId"])
    (app,) = deployment.azure.apps
    check(set(app["web"]["redirectUris"]) == {f"https://{host}.contoso.com/oauth/callback" for host in ("old", "gate")}, app)
    check("it also has 1 secret(s)" in said and len(app["federated"]) == 1, said)
    check(deployment.azure.settings["SIGN_IN_CLIENT_ID"] == app["appId"], said)
    # One that is gone is not replaced behind anybody's back.
    deployment = Deployment()
    said = deployment.hook(SIGN_IN_CLIENT_ID=REPLACED)
    check("there is no application" in said and 'azd env set SIGN_IN_CLIENT_ID ""' in said and not deployment.writes(), said)


def permissions_follow_the_toolsets_of_the_app():
    for settings, flags in (
        ({"ENABLED_TOOLSETS": "planner, sync", "READ_ONLY": "TRUE"}, ["--toolsets", "planner,sync", "--read-only"]),
        ({"ENABLED_TOOLSETS": "all"}, []),
    ):
        deployment = Deployment(settings=settings, deny=["ad app create"])
        line = line_of(deployment.hook())
        check(line[-3:] == flags if flags else "--toolsets" not in line, line)
    deployment = Deployment(settings={"ENABLED_TOOLSETS": "planner"})
    deployment.hook()
    (app,) = deployment.azure.apps
    check(len(app["requiredResourceAccess"][0]["resourceAccess"]) == 3, app)
    status, said = deployment.run(["register-entra-app.sh", "--name", "x", "--managed-identity", IDENTITY, "--redirect", "https://x/oauth/callback", "--toolsets", "nonsense"])
    check(status != 0 and "there is no toolset 'nonsense'" in said and len(deployment.azure.apps) == 1, said)


def admin_consent_is_for_everybody_and_once():
    deployment = Deployment()
    deployment.hook()
    consent = ["register-entra-app.sh", "--tenant", TENANT, "--client-id", deployment.known(), "--admin-consent"]
    others = {"id": "1", "clientId": deployment.azure.principals[0]["id"], "consentType": "AllPrincipals", "resourceId": "graph", "scope": " openid Mail.Read"}
    for known in ([], [others]):
        deployment.change(grants=list(known))
        for _ in range(2):
            status, said = deployment.run(consent)
            check(status == 0, said)
        (grant,) = deployment.azure.grants
        wanted = {"User.ReadBasic.All", "openid", "profile", "offline_access"} | ({"Mail.Read"} if known else set())
        check(set(grant["scope"].split()) == wanted and len(grant["scope"].split()) == len(wanted), grant)
        check(grant["consentType"] == "AllPrincipals" and "has      User.ReadBasic.All" in said, said)
    check(not deployment.azure.roles, "application permissions are the identity's own")


def application_outside_azure_does_both():
    deployment = Deployment()
    words = ["register-entra-app.sh", "--name", "Gate", "--federated", "https://issuer", "subject", "--redirect", "https://x/oauth/callback"]
    for _ in range(2):
        status, said = deployment.run(words)
        check(status == 0 and "AZURE_CLIENT_ID=" in said and "SIGN_IN_CLIENT_ID=" in said, said)
    (app,) = deployment.azure.apps
    check(len(app["federated"]) == 1 and len(deployment.azure.roles) == 5, vars(deployment.azure))
    for wrong, word in (
        (["--name", "x"], "say how it proves itself"),
        (["--redirect", "https://x/oauth/callback"], "--name or --client-id is missing"),
        (["--name", "x", "--managed-identity", IDENTITY], "--redirect is missing"),
        (["--name", "x", "--managed-identity", "me", "--redirect", "https://x/oauth/callback"], "object id"),
        (["--client-id", "x", "--redirect", "http://x/oauth/callback"], "is not PUBLIC_URL/oauth/callback"),
    ):
        before = deployment.azure.calls
        status, said = deployment.run(["register-entra-app.sh", *wrong])
        check(status == 2 and word in said and deployment.azure.calls == before, said)


def admin_key_is_made_and_shown_once():
    deployment = Deployment()
    deployment.package(refuse=2)
    status, said = deployment.run(["admin-key.sh"], terminal=True, SIGN_IN_CLIENT_ID="x", PUBLIC_URL="https://x", ALLOWED_IPS="10.0.0.0/8")
    check(status == 0 and said.count(SHOWN_KEY) == 1 and said.count("does not let us in yet") == 2, said)
    status, said = deployment.run(["admin-key.sh"], terminal=True)
    check(status == 0 and "there is one already, 1a2b3c4d" in said and SHOWN_KEY not in said, said)
    check(len(deployment.keys()["keys"]) == 1, deployment.keys())


def admin_key_goes_to_no_log():
    deployment = Deployment()
    deployment.package()
    status, said = deployment.run(["admin-key.sh"])
    check(status == 1 and "is no terminal" in said and not deployment.keys()["keys"], said)
    file = deployment.folder / "key"
    file.write_text("")
    file.chmod(0o644)
    status, said = deployment.run(["admin-key.sh", "--file", str(file)])
    check(status == 0 and SHOWN_KEY not in said and file.read_text() == f"{SHOWN_KEY}\n", said)
    check(file.stat().st_mode & 0o777 == 0o600, oct(file.stat().st_mode))


def admin_key_says_how_else_it_is_made():
    for trouble, word in (
        ({"VNET_ENABLED": "true"}, "behind a private endpoint"),
        ({"AZURE_TABLES_ENDPOINT": ""}, "is not set"),
        ({"PACKAGE_DIST": "/nowhere"}, "does not run on this machine"),
    ):
        deployment = Deployment()
        deployment.package()
        status, said = deployment.run(["admin-key.sh"], terminal=True, **trouble)
        check(status == 1 and word in said and "graphgate keys create admin --operator" in said, said)
        check(deployment.keys()["calls"] == 0, said)
    deployment = Deployment()
    deployment.package(refuse=99)
    status, said = deployment.run(["admin-key.sh"], terminal=True)
    check(status == 1 and "the store does not answer" in said and deployment.keys()["calls"] == 10, said)
    deployment = Deployment()
    deployment.package(lose=True)
    status, said = deployment.run(["admin-key.sh"], terminal=True)
    check(status == 1 and "whether it was made is not known" in said, said)
    status, said = deployment.run(["admin-key.sh"], terminal=True)
    check(status == 0 and "there is one already" in said, said)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what `respond` returns."""

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, text = self.respond(body)
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = handle_request

    def log_message(self, *_):
        pass


class Cli(Handler):
    """Runs what the stand-in for `az` was called with."""

    def respond(self, body):
        status, text = self.server.azure.run(body.decode().split("\0")[:-1])
        return 500 if status else 200, text


class App(Handler):
    """The deployed app: what its host and its program answer."""

    def respond(self, body):
        level, (path, _, query) = self.server.level, self.path.partition("?")
        key = self.headers.get("x-functions-key" if level == "function" else "x-api-key")
        if path == "/api/graph_webhook":
            return 200, query.removeprefix("validationToken=")
        if path.startswith("/health/"):
            return 200, "{}"
        if path.startswith("/.well-known/"):
            return 200 if self.server.signs_in else 404, "{}"
        if path != "/mcp":
            return 404, "{}"
        if key == "good":
            return 200, '{"result":{}}'
        return 401, "" if level == "function" else '{"detail":"nothing says who calls"}'


def serve(handler, **members):
    """Starts a server that lives as long as this process; returns its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    for name, value in members.items():
        setattr(server, name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def next_steps_show_the_key_and_what_is_missing():
    deployment = Deployment()
    deployment.package()
    url = serve(App, level="anonymous", signs_in=True)
    for settings, terminal in (({}, True), ({"SIGN_IN_CLIENT_ID": "x"}, True), ({"REGISTER_SIGN_IN": "false"}, False)):
        status, said = deployment.run(["next-steps.sh"], terminal, GRAPHGATE_URL=url, **settings)
        check(status == 0 and "Microsoft Graph reaches it" in said, said)
        check((SHOWN_KEY in said) == (settings == {}), said)
        check(f'graphgate {url}/mcp --header "x-api-key: KEY"' in said and "x-functions-key" not in said, said)
        check(("People cannot sign in yet" in said) == (settings == {}), said)
        if not settings:
            check(line_of(said)[1:3] == ["--tenant", TENANT], said)
    status, said = deployment.run(["next-steps.sh"], True, GRAPHGATE_URL=url, HTTP_AUTH_LEVEL="function")
    check("x-functions-key: KEY" in said and "Clients cannot sign in" in said and "admin key" not in said, said)
    status, said = deployment.run(["next-steps.sh"], GRAPHGATE_URL=f"{url}/nowhere", TRIES="1", PAUSE="0")
    check(status == 1 and "no subscription can be made yet" in said, said)


def test_connection_sends_the_key_that_is_asked_for():
    deployment = Deployment()
    for level, signs_in, word in (
        ("anonymous", True, "ok      people can sign in"),
        ("anonymous", False, "note    people cannot sign in: SIGN_IN_CLIENT_ID is not set"),
        ("function", False, "note    the host asks for keys (HTTP_AUTH_LEVEL=function): clients cannot sign in"),
    ):
        url = serve(App, level=level, signs_in=signs_in)
        status, said = deployment.run(["test-connection.sh", url], GRAPHGATE_KEY="good")
        check(status == 0 and word in said and "works: connect clients" in said, said)
        status, said = deployment.run(["test-connection.sh", f"{url}/", "bad"])
        check(status == 1 and "it lets you in (tools/list): HTTP 401" in said, said)


def preflight_names_values_that_cannot_be():
    deployment = Deployment()
    for settings, word in (
        ({"HTTP_AUTH_LEVEL": "none"}, "a value of HTTP_AUTH_LEVEL that is known ('none')"),
        ({"PUBLIC_URL": "https://gate.contoso.com/"}, "a PUBLIC_URL without a path"),
        ({"PUBLIC_URL": "gate.contoso.com"}, "a PUBLIC_URL that begins with https://"),
        ({"HTTP_AUTH_LEVEL": "function"}, "so clients cannot sign in"),
    ):
        _, said = deployment.run(["preflight.sh"], **settings)
        check(word in said, said)
    _, said = deployment.run(["preflight.sh"], PUBLIC_URL="https://gate.contoso.com")
    check("PUBLIC_URL" not in said and "HTTP_AUTH_LEVEL" not in said, said)


def sign_in_asks_for_what_the_scripts_register():
    program = (ROOT / "src/auth/delegated/microsoft.rs").read_text(encoding="utf-8")
    asked = re.findall(r'"(\w+)"', re.search(r"const ALWAYS: .*?= &\[(.*?)\];", program, re.DOTALL).group(1))
    script = (ROOT / "scripts/grant-graph-permissions.sh").read_text(encoding="utf-8")
    check(re.search(r"SIGN_IN=\((.*)\)", script).group(1).split() == asked, asked)


CASES = [
    hook_registers_once,
    hook_prints_one_line_where_it_may_not_register,
    hook_goes_on_after_a_lost_answer,
    hook_waits_until_the_directory_shows_what_is_new,
    hook_replaces_the_credential_of_an_identity_that_is_gone,
    hook_leaves_other_tenants_and_levels_alone,
    hook_completes_an_application_that_is_named,
    permissions_follow_the_toolsets_of_the_app,
    admin_consent_is_for_everybody_and_once,
    application_outside_azure_does_both,
    admin_key_is_made_and_shown_once,
    admin_key_goes_to_no_log,
    admin_key_says_how_else_it_is_made,
    next_steps_show_the_key_and_what_is_missing,
    test_connection_sends_the_key_that_is_asked_for,
    preflight_names_values_that_cannot_be,
    sign_in_asks_for_what_the_scripts_register,
]
FOLDER = tempfile.TemporaryDirectory()


def tried(case):
    """What is wrong with a case, or nothing."""
    try:
        return case()
    except AssertionError as why:
        return f"{case.__name__}: {why}"


def main():
    with FOLDER, concurrent.futures.ThreadPoolExecutor(4) as pool:
        wrong = [why for why in pool.map(tried, CASES) if why]
    if wrong:
        sys.exit("\n".join([*wrong, f"{len(wrong)} of {len(CASES)} cases are wrong"]))
    print(f"{len(CASES)} cases of the hooks and scripts of a deployment are right")


main()
