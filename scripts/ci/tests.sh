#!/usr/bin/env bash
# Runs the tests that can run here, with any arguments of `cargo nextest run`: `scripts/ci/tests.sh toolsets::planner`.
#
# A test that needs a program is `#[ignore = "needs …"]`, so that a plain run counts it as skipped. Here the ignored ones run
# too, without those whose program is missing. The names of the tests say which those are; `tests/architecture.rs` sees to it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# What the steps `azurite` and `redis` of .ci/run have installed.
installed=${GRAPHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/graphgate}/azurite-$(sha256sum tests/azurite/package-lock.json | cut -c1-16)
azurite=$installed/node_modules/.bin/azurite
if [ -z "${AZURITE:-}" ] && [ -x "$azurite" ]; then export AZURITE=$azurite; fi
if [ -z "${REDIS_SERVER:-}" ] && command -v redis-server >/dev/null; then REDIS_SERVER=$(command -v redis-server); export REDIS_SERVER; fi

filter='all()'
without() { # without VARIABLE PATTERN: where the variable names no program, the tests that need it are left out
  if [ -n "${!1:-}" ]; then return; fi
  filter+=" - (binary(it) & test(/$2/))"
  echo "skipped: the tests that need $1" >&2
}
without AZURITE '(^host::|azurite)'
without REDIS_SERVER 'redis'
# shellcheck disable=SC2086 # NEXTEST is a command with arguments: how scripts/ci/coverage.py runs them
exec ${NEXTEST:-cargo nextest run} --locked --run-ignored all -E "$filter" "$@"
