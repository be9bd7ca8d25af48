#!/bin/sh
# Calls a tool with a signed request, as docs/access.md shows. Usage: signed_call.sh BASE KEY TOOL JSON
set -eu

signed_call() { # BASE KEY TOOL JSON
  id=$(cat /proc/sys/kernel/random/uuid) timestamp=$(date +%s) target=/api/tools/$3
  tag=$(printf 'v1\n%s\n%s\nPOST\n%s\n%s' "$id" "$timestamp" "$target" "$4" | openssl dgst -sha256 -hmac "$2" -binary | base64 -w0)
  curl --silent --show-error "$1$target" --data-binary "$4" --header 'Content-Type: application/json' \
    --header "X-GraphGate-Key: $(printf %s "$2" | cut -d_ -f2)" --header "X-GraphGate-Request-Id: $id" \
    --header "X-GraphGate-Timestamp: $timestamp" --header "X-GraphGate-Signature: v1,$tag"
}

signed_call "$@"
