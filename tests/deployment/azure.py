"""A stand-in for the Azure CLI: a directory and an app's settings, behind the commands that our scripts use.

It answers `--query` and `--output tsv` as the Azure CLI does, and refuses what Microsoft Graph refuses: a permission listed twice, a
federated credential that is there.
"""

import json
import re
import uuid

import jmespath

GRAPH = "00000003-0000-0000-c000-000000000000"
SCOPES = {name: str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("User.ReadBasic.All", "openid", "profile", "offline_access", "Mail.Read")}
ROLES = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in ("Group.Read.All", "Tasks.ReadWrite.All", "User.ReadBasic.All", "Mail.Send", "Mail.ReadWrite")}


class Refused(Exception):
    """What az says on standard error before it ends with 1."""


def options(words):
    """The words before the first option, and the options, each with its values."""
    first = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    given, name = {}, None
    for word in words[first:]:
        if word.startswith("--"):
            name = word
            given[name] = []
        else:
            given[name].append(word)
    return " ".join(words[:first]), given


def filtered(items, text):
    """Items by a filter of the one form that is used."""
    name, value = re.fullmatch(r"(\w+) eq '(.*)'", text).groups()
    return [item for item in items if str(item[name]) == value.replace("''", "'")]


class Azure:
    """What there is, what was called, and what goes wrong: `deny` (beginnings of commands that the caller may not run), `lose` (a
    command that is done once, without an answer), `lag` (how many commands do not find an application)."""

    def __init__(self, tenant, settings):
        self.tenant, self.settings = tenant, settings
        self.apps, self.principals, self.grants, self.roles, self.calls = [], [], [], [], []
        self.deny, self.lose, self.lag = [], None, 0

    def run(self, words):
        """Runs a command; returns how it ended and what it printed, on standard output or (1) on standard error."""
        line = " ".join(words)
        self.calls.append(line)
        command, given = options(words)
        try:
            if any(line.startswith(some) for some in self.deny):
                raise Refused("ERROR: Insufficient privileges to complete the operation.")
            result = getattr(self, command.replace(" ", "_").replace("-", "_"))(given)
            if self.lose and line.startswith(self.lose):
                self.lose = None
                raise Refused("Connection aborted: the answer did not come")
        except (AttributeError, Refused) as why:
            return 1, f"{why}\n"
        if given.get("--output") == ["none"]:
            return 0, ""
        assert given["--output"] == ["tsv"], f"our scripts say what they want of an answer: {line}"
        return 0, shown(jmespath.search(given["--query"][0], result))

    def app(self, client_id):
        found = [app for app in self.apps if app["appId"] == client_id]
        if not found or self.lag > 0:
            self.lag -= 1
            raise Refused(f"Resource '{client_id}' does not exist or one of its queried reference-property objects are not present.")
        return found[0]

    def account_show(self, given):
        return {"tenantId": self.tenant}

    def ad_app_list(self, given):
        return filtered(self.apps, given["--filter"][0])

    def ad_app_create(self, given):
        app = {"appId": str(uuid.uuid4()), "displayName": given["--display-name"][0], "web": {"redirectUris": []}}
        app |= {"requiredResourceAccess": [], "passwordCredentials": [], "keyCredentials": [], "federated": []}
        app["signInAudience"] = given["--sign-in-audience"][0]
        self.apps.append(app)
        return app

    def ad_app_show(self, given):
        return self.app(given["--id"][0])

    def ad_app_update(self, given):
        self.app(given["--id"][0])["web"]["redirectUris"] = given["--web-redirect-uris"]

    def ad_app_permission_add(self, given):
        app = self.app(given["--id"][0])
        needed = next((some for some in app["requiredResourceAccess"] if some["resourceAppId"] == given["--api"][0]), None)
        if needed is None:
            needed = {"resourceAppId": given["--api"][0], "resourceAccess": []}
            app["requiredResourceAccess"].append(needed)
        needed["resourceAccess"] += [dict(zip(("id", "type"), word.split("="))) for word in given["--api-permissions"]]
        ids = [access["id"] for access in needed["resourceAccess"]]
        if len(ids) != len(set(ids)):
            raise Refused("Request contains a property with duplicate values.")

    def ad_app_credential_reset(self, given):
        app = self.app(given["--id"][0])
        app["keyCredentials" if "--cert" in given else "passwordCredentials"].append({"keyId": str(uuid.uuid4())})
        return {"password": "SECRET"}

    def ad_app_federated_credential_list(self, given):
        return self.app(given["--id"][0])["federated"]

    def ad_app_federated_credential_create(self, given):
        app, wanted = self.app(given["--id"][0]), json.loads(given["--parameters"][0])
        for known in app["federated"]:
            if known["name"] == wanted["name"] or (known["issuer"], known["subject"]) == (wanted["issuer"], wanted["subject"]):
                raise Refused("FederatedIdentityCredential with this name, or issuer and subject, already exists.")
        app["federated"].append(wanted)

    def ad_app_federated_credential_update(self, given):
        app, wanted = self.app(given["--id"][0]), json.loads(given["--parameters"][0])
        if "name" in wanted:
            raise Refused("Property name is immutable.")
        known = next(some for some in app["federated"] if some["name"] == given["--federated-credential-id"][0])
        known |= wanted

    def ad_sp_list(self, given):
        return filtered(self.principals, given["--filter"][0])

    def ad_sp_create(self, given):
        self.app(given["--id"][0])
        self.principals.append({"id": str(uuid.uuid4()), "appId": given["--id"][0]})
        return self.principals[-1]

    def ad_sp_show(self, given):
        assert given["--id"] == [GRAPH], given
        named = lambda names: [{"value": name, "id": id} for name, id in names.items()]
        return {"id": "graph", "oauth2PermissionScopes": named(SCOPES), "appRoles": named(ROLES)}

    def rest(self, given):
        method, url = given["--method"][0], given["--url"][0].removeprefix("https://graph.microsoft.com/v1.0/")
        body = json.loads(given["--body"][0]) if "--body" in given else None
        kind = "grants" if "oauth2PermissionGrants" in url else "roles"
        if method == "GET":
            principal = url.split("/")[1]
            return {"value": [some for some in getattr(self, kind) if principal in (some.get("clientId"), some.get("principalId"))]}
        if method == "POST":
            getattr(self, kind).append({"id": str(uuid.uuid4()), **body})
        else:
            known = next(some for some in getattr(self, kind) if some["id"] == url.split("/")[1])
            known |= body

    def functionapp_config_appsettings_list(self, given):
        return [{"name": name, "value": value} for name, value in self.settings.items()]

    def functionapp_config_appsettings_set(self, given):
        self.settings |= dict(word.split("=", 1) for word in given["--settings"])


def shown(result):
    """A result as `--output tsv` shows it."""
    if result is None:
        return ""
    rows = result if isinstance(result, list) else [result]
    text = lambda value: str(value).lower() if isinstance(value, bool) else str(value)
    return "".join("\t".join(map(text, row if isinstance(row, list) else [row])) + "\n" for row in rows)
