# shellcheck shell=bash disable=SC2154
# Steps that run the optimised program against things that others wrote. Sourced by .ci/run after checks.sh.

# Built by sync_mutants, or by `release`.
graphgate=$CARGO_TARGET_DIR/release/graphgate
clients=tests/clients
oracle=../shared/graph-oracle

# On demand, before single stories: the program they run.
step_release() { sync_sim --no-run; }

# serve NAME COMMAND…: starts a server, waits until it has written $run/NAME.json, and stops it when the step ends.
servers=()
serve() {
  ready=$run/$1.json
  "${@:2}" --ready-file "$ready" >"$run/$1.out" 2>&1 &
  local server=$!
  servers+=("$server")
  trap stop EXIT
  local patience=500
  until [ -s "$ready" ]; do
    if ! kill -0 "$server" 2>/dev/null || [ $((patience -= 1)) = 0 ]; then
      echo "$1 is not ready:"
      cat "$run/$1.out"
      exit 1
    fi
    sleep 0.02
  done
}

stop() {
  kill "${servers[@]}" 2>/dev/null || true
  wait "${servers[@]}" 2>/dev/null || true # so that the logs are whole
}

# member FILE NAME: what a server has written into its ready file.
member() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# dev NAME: the whole program on its tenant, with a request log of its own.
dev() { serve "$1" "$graphgate" dev --port 0 --sim-port 0 --request-log "$run/graph/$1.jsonl"; }

with_tools() { PATH="$npm_folder/node_modules/.bin:$python_folder/bin:$PATH" "$@"; }

step_ready() {
  local begun=$EPOCHREALTIME
  dev ready
  local now=$EPOCHREALTIME
  local took=$(((${now/./} - ${begun/./}) / 1000))
  echo "ready after $took ms (at most 1000)"
  [ "$took" -le 1000 ]
}

story() { # story NAME COMMAND…, which gets the ready file and the words after `--`
  dev "$1"
  with_tools "$2" "$clients/$3" "$ready" "${@:4}"
}

step_tokens() { story tokens node tokens.mjs; }
step_story_ts1() { story ts1 node ts1.mjs; }
step_story_ts2_modern() { story ts2-modern node ts2.mjs auto; }
step_story_ts2_legacy() { story ts2-legacy node ts2.mjs legacy; }
step_story_python_modern() { story python-modern python py_mcp.py auto; }
step_story_python_legacy() { story python-legacy python py_mcp.py legacy; }
step_story_fastmcp() { story fastmcp python py_fastmcp.py; }
step_client_programs() { story programs bash programs.sh; }

# People sign in to clients of others, in Chromium; the tokens live so shortly that every client refreshes its own. Says per
# client what passed.
step_sign_in_clients() {
  if ! command -v chromium >/dev/null; then apt_install chromium; fi
  local documents
  documents=$(free_port)
  serve sign_in env ACCESS_TOKEN_SECONDS=5 "$graphgate" dev --port 0 --sim-port 0 --sign-in \
    --client-documents "127.0.0.1:$documents" --request-log "$run/graph/sign_in.jsonl"
  CHROMIUM=$(command -v chromium) with_tools bash "$clients/sign_in.sh" "$ready" "$documents" "$run/sign_in"
}

# A CRM's backend of 20 users, as docs/crm.md shows it, over six lifetimes of an access token and the death of the server.
step_crm_backend() {
  with_tools python "$clients/crm_backend.py" "$graphgate" "$run/crm_backend" --request-log "$run/graph/crm_backend.jsonl"
}

# A free port for a program that has to be told one: outside the range from which the system gives ports to sockets.
free_port() {
  python3 - <<'END'
import random, socket
while True:
    port = random.randint(20000, 30000)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            print(port)
            break
END
}

step_conformance() {
  dev conformance
  with_tools bash "$clients/conformance.sh" "$ready" baseline "$run"
}

step_conformance_of_fixtures() {
  cargo build --locked --example fixture_server # unoptimised: the tests have built all it needs
  serve fixtures "$CARGO_TARGET_DIR/debug/examples/fixture_server"
  with_tools bash "$clients/conformance.sh" "$ready" baseline-fixture "$run"
}

# Everything the OpenAPI document allows, and much that it does not: no server error, no status or body it does not name.
step_rest_document() {
  dev rest
  local address
  address=$(member "$ready" api_url)
  cd "$run" || exit # it leaves a folder behind
  # A stream of events has no end to wait for; the tests listen to it.
  with_tools schemathesis run "${address}openapi.json" --seed 1 --max-examples 30 --no-color --exclude-path /api/events \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method
}

# The commands of our own documents, on the program; the examples of Graph's documentation, on the simulated tenant.
step_documented_examples() {
  dev commands
  python3 scripts/ci/commands.py "$graphgate" "$ready"
  if [ ! -d "$oracle" ]; then echo "no ../shared, so of the documented examples only our own were tried"; return 77; fi
  serve tenant "$graphgate" sim --port 0
  python3 "$clients/documented_examples.py" "$ready" "$oracle" "$run/examples.json"
}

# Every Graph request of this whole run, and what the simulated tenant answered, against Microsoft's metadata.
step_request_log() {
  if [ ! -d "$oracle" ]; then echo "no ../shared, so the requests of this run were not checked"; return 77; fi
  python3 "$oracle/check_requests.py" --self-test
  # Near the real number: a log that is not written must not pass. Fewer when only some steps were chosen.
  local least=1
  if [ -s "$run/graph/ts1.jsonl" ] && [ -s "$run/graph/rest.jsonl" ] && compgen -G "$run/graph/it-*" >"$run/it"; then
    least=$MIN_REQUESTS
  fi
  # Each tenant by itself: what one asked its client to wait says nothing to the client of the next. Without the three
  # processes of which only one received a wait: that test says how long the others may still call.
  find "$run/graph" -name '*.jsonl' ! -name 'throttled-*' -print0 >"$run/logs"
  xargs -0 python3 scripts/ci/requests.py "$oracle" <"$run/logs"
  local lines
  lines=$(xargs -0 cat <"$run/logs" | wc -l)
  echo "$lines requests checked (at least $least)"
  [ "$lines" -ge "$least" ]
}
readonly MIN_REQUESTS=1300
