"""Calls a tool with a signed request, as docs/access.md shows. Usage: signed_call.py BASE KEY TOOL JSON"""

import sys
import base64, hashlib, hmac, json, time, urllib.request, uuid

def call(base, key, tool, arguments, request_id=None):
    """Calls a tool with a signing key; to repeat a call, give the same request_id."""
    body, target = json.dumps(arguments), f"/api/tools/{tool}"
    request_id, timestamp = request_id or str(uuid.uuid4()), str(int(time.time()))
    text = "\n".join(["v1", request_id, timestamp, "POST", target, body])
    tag = base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
    headers = {
        "Content-Type": "application/json",
        "X-GraphGate-Key": key.split("_")[1],
        "X-GraphGate-Request-Id": request_id,
        "X-GraphGate-Timestamp": timestamp,
        "X-GraphGate-Signature": f"v1,{tag}",
    }
    request = urllib.request.Request(base + target, body.encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


if __name__ == "__main__":
    print(json.dumps(call(*sys.argv[1:4], json.loads(sys.argv[4]))))
