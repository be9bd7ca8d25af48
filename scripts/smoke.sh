#!/usr/bin/env bash
# Starts a staged package once, as the Functions host would but without Azure, and asks what any host would.
# Usage: smoke.sh DIST
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

dist=$(cd "${1:?usage: smoke.sh DIST}" && pwd)
folder=$(mktemp -d)
server=''
trap 'if [ -n "$server" ]; then kill -9 "$server" || true; wait "$server" || true; fi 2>/dev/null; rm -rf "$folder"' EXIT
fail() { echo "smoke: $*" >&2; cat "$folder/out" >&2 2>/dev/null || true; exit 1; }

"$dist/graphgate" --version
if "$dist/graphgate" dev >"$folder/out" 2>&1; then fail "the simulated tenant is in the package"; fi
if env -i "$dist/graphgate" serve >"$folder/out" 2>&1; then fail "it starts without a tenant"; fi
grep -q AZURE_TENANT_ID "$folder/out" || fail "it does not say which setting is missing"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
begun=${EPOCHREALTIME/./}
cd "$dist" # as the host does
env -i FUNCTIONS_CUSTOMHANDLER_PORT="$port" DATA_DIR="$folder/data" AZURE_TENANT_ID=00000000-0000-0000-0000-000000000001 \
  AZURE_CLIENT_ID=00000000-0000-0000-0000-000000000002 AZURE_CLIENT_SECRET=unused REQUIRE_API_KEY=true \
  "$dist/graphgate" serve >"$folder/out" 2>&1 &
server=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  kill -0 "$server" 2>/dev/null || fail "it ended"
  [ $((${EPOCHREALTIME/./} - begun)) -lt 10000000 ] || fail "it does not listen"
  sleep 0.005
done
took=$(((${EPOCHREALTIME/./} - begun) / 1000))
[ "$took" -le 300 ] || fail "it listens after $took ms, more than 300"

status() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
base=http://127.0.0.1:$port
[ "$(status "$base/")" = 200 ] || fail "GET / is not answered"
[ "$(status "$base/health/live")" = 200 ] || fail "it is not alive"
for path in api/openapi.json metrics; do
  [ "$(status -H 'x-functions-key: guess' -H 'x-ms-invocation-id: 1' "$base/$path")" = 401 ] || fail "/$path does not refuse a wrong key"
done
[ "$(curl --silent --max-time 10 -X POST -H 'content-length: 0' "$base/api/graph_webhook?validationToken=smoke")" = smoke ] || fail "a validation token does not come back"
# The host takes functions in the order of their names in upper case: the webhook has to come before the REST interface.
webhook=$(grep -l '"api/graph_webhook/' "$dist"/*/function.json) rest=$(grep -l '"api/{' "$dist"/*/function.json)
[ "$(printf '%s\n' "$webhook" "$rest" | tr '[:lower:]' '[:upper:]' | LC_ALL=C sort | head -n 1)" = "$(tr '[:lower:]' '[:upper:]' <<<"$webhook")" ] ||
  fail "the REST interface's function would take the webhook's requests"
envelope='{"Data":{"timer":{"IsPastDue":false}},"Metadata":{}}'
[ "$(status -d "$envelope" -H 'x-forwarded-for: 203.0.113.7' "$base/reconcile_plans")" = 404 ] || fail "a timer can be fired from outside"
[ "$(status -d "$envelope" "$base/reconcile_plans")" = 200 ] || fail "a timer of the host is not answered"
echo "smoke: listens after $took ms, answers, and takes timers from the host alone"
