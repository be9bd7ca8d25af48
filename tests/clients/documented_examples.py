"""Sends the published examples of Graph's documentation to a simulated tenant and counts the answers.

Usage: documented_examples.py READY_FILE ORACLE_FOLDER OUT_FILE. Fails when fewer than 95 % are answered as documented,
or when an example that is not in GAPS differs.
"""

import json
import subprocess
import sys
import urllib.request

import story

AREAS = "planner,users,groups,subscriptions,batch"
SHARE = 0.95
# Examples that are answered otherwise, by their number, with the reason.
GAPS = {
    725: "GET /users/{id}/planner/plans takes delegated tokens only; the examples are sent as an application",
}


def main():
    _, _, oracle, out = sys.argv
    ready = story.readiness()
    # The tenant's second application may do all that the documentation does; GraphGate's own has only what it needs.
    with urllib.request.urlopen(f"{ready['control_url']}/permissions") as answer:
        applications = json.load(answer)["applications"]
    explorer = next(each for each in applications if each["display_name"] == "Tenant Explorer")
    token = story.token_of(ready, explorer["client_id"], explorer["secret"])
    command = [sys.executable, f"{oracle}/replay.py", "--base", ready["graph_url"], "--token", token]
    ran = subprocess.run([*command, "--areas", AREAS, "--json", out], capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        sys.exit(f"{ran.stdout}{ran.stderr}\nreplay.py ended with {ran.returncode}")
    with open(out, encoding="utf-8") as file:
        result = json.load(file)
    areas = result["areas"].values()
    asked = sum(area.get("sent", 0) + area.get("no object", 0) for area in areas)
    right = sum(area.get("type ok", 0) for area in areas)
    differ = {each["id"]: each for each in result["results"] if each.get("ok") is False}
    print(f"{right} of {asked} documented examples answered as documented")
    for number, each in differ.items():
        print(f"  #{number} {each['method']} {each['path']}: {GAPS.get(number, each)}")
    unknown, closed = differ.keys() - GAPS.keys(), GAPS.keys() - differ.keys()
    if asked < 80 or right < SHARE * asked or unknown or closed:
        print(ran.stdout)
        sys.exit(f"not as expected: new gaps {sorted(unknown)}, closed gaps {sorted(closed)}")


main()
