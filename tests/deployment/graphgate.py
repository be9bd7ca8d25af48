"""A stand-in for the packaged program: `keys list` and `keys create` on the file keys.json beside it. Of its members, `refuse` says how
often the store refuses, `lose` that a key is made without an answer."""

import json
import os
import pathlib
import sys

ALLOWED = {"PATH", "HOME", "AZURE_CONFIG_DIR", "AZD_CONFIG_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}
ALLOWED |= {"AZURE_TENANT_ID", "AZURE_TABLES_ENDPOINT", "REQUIRE_API_KEY"}


def main():
    words = sys.argv[1:]
    if words == ["--version"]:
        return 0
    # The shell sets the last three.
    foreign = set(os.environ) - ALLOWED - {"PWD", "SHLVL", "_", "LC_CTYPE"}
    assert not foreign, f"settings of the deployment reach a command on this machine: {foreign}"
    path = pathlib.Path(__file__).with_name("keys.json")
    state = json.loads(path.read_text(encoding="utf-8"))
    try:
        state["calls"] += 1
        if state["refuse"] > 0:
            state["refuse"] -= 1
            print('{"error":{"code":"STORE_001","message":"403 Forbidden `AuthorizationPermissionMismatch`"}}', file=sys.stderr)
            return 9
        if words[:2] == ["keys", "list"]:
            assert words[2:] == ["--query", "keys[?name=='admin'].id | [0]", "--output", "json"], words
            print(json.dumps(next((key["id"] for key in state["keys"] if key["name"] == "admin"), None)))
            return 0
        assert words == ["keys", "create", "admin", "--operator", "--query", "key", "--output", "json"], words
        state["keys"].append({"id": "1a2b3c4d", "name": "admin"})
        if state["lose"]:
            print("the answer did not come", file=sys.stderr)
            return 9
        print("note: keep the key", file=sys.stderr)
        print('"gg_1a2b3c4d_secret"')
    finally:
        path.write_text(json.dumps(state), encoding="utf-8")
    return 0


sys.exit(main())
