# shellcheck shell=bash disable=SC2154
# Steps that check the source, and the tests. Sourced by .ci/run, which sets `root`, `cache` and `run`.

can_apt_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE…: with apt, where that may be done; elsewhere the step is skipped.
apt_install() {
  if ! can_apt_install; then echo "no $* here, and none can be installed"; return 77; fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

step_fmt() { cargo fmt --all --check; }

# Bans, licences and sources without another tool to build; `.cargo/deny.toml` says the same to cargo-deny.
step_licences() { cargo metadata --locked --all-features --format-version 1 | python3 scripts/ci/licences.py; }

step_clippy() { cargo clippy --locked --workspace --all-targets --features pdf -- -D warnings; }

step_docs() { RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items; }

step_test_programs() { cargo nextest run --locked --workspace --lib --bins --tests --no-run; }

# The optimised builds of later steps. Whether they are right is for those steps to say.
build_ahead() {
  PACKAGE_TARGET=$(package_target) PACKAGE_DIST=$run/ahead scripts/package.sh || true
  sync_sim --no-run
}

step_builds() {
  while kill -0 "${ahead:-}" 2>/dev/null; do sleep 1; done
  tail -n 1 "$run/ahead.log" 2>/dev/null || echo "nothing is built ahead for single steps"
}

# Tests that need a program are run where it can be had; one that is missing though it can fails the step.
step_tests() {
  services
  if [ -z "${AZURITE:-}" ]; then echo "no storage emulator: the step azurite installs it"; return 1; fi
  if [ -z "${REDIS_SERVER:-}" ] && can_apt_install; then echo "no Redis: the step redis installs it"; return 1; fi
  GRAPH_LOG_DIR="$run/graph" scripts/ci/tests.sh --workspace --profile ci --lib --bins --tests
  cargo test --locked --workspace --doc --quiet
}

step_unused_dependencies() {
  local version=0.9.2 tools=$cache/tools
  if [ "$("$tools/bin/cargo-machete" --version 2>/dev/null || true)" != "$version" ]; then
    CARGO_TARGET_DIR=$cache/target-tools cargo install --quiet --locked --root "$tools" "cargo-machete@$version"
    rm -rf "$cache/target-tools"
  fi
  "$tools/bin/cargo-machete"
}

# The clients and tools of others, each in a folder of the cache named by its lockfile.
installed() { # installed KIND LOCKFILE
  echo "$cache/$1-$(sha256sum "$2" | cut -c1-16)"
}
npm_folder=$(installed npm tests/clients/package-lock.json)
python_folder=$(installed python tests/clients/requirements.txt)

step_node_tools() {
  if [ ! -e "$npm_folder/done" ]; then
    rm -rf "$npm_folder"
    mkdir -p "$npm_folder"
    cp tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc "$npm_folder/"
    (cd "$npm_folder" && npm ci --loglevel error)
    touch "$npm_folder/done"
  fi
  ln -sfn "$npm_folder/node_modules" node_modules # where Node looks from tests/clients; ignored by git
  echo "node $("$npm_folder/node_modules/.bin/node" --version) in $npm_folder"
}

step_python_tools() {
  if [ ! -e "$python_folder/done" ]; then
    rm -rf "$python_folder"
    python3 -m venv "$python_folder"
    "$python_folder/bin/pip" install --quiet --no-deps --requirement tests/clients/requirements.txt
    touch "$python_folder/done"
  fi
  echo "$("$python_folder/bin/python" --version) in $python_folder"
}

step_shell() {
  local script
  "$python_folder/bin/shellcheck" --external-sources .ci/run scripts/*.sh scripts/ci/*.sh tests/clients/*.sh
  for script in scripts/*.sh; do
    bash "$script" --help | grep -q . || { echo "$script --help says nothing"; return 1; }
  done
  "$python_folder/bin/python" tests/deployment/hooks.py
}

step_typos() { "$python_folder/bin/typos"; }

# A file that names a machine's folder or a registry's host works in one place only.
step_no_machine_names() {
  local found
  found=$(git grep -nIE '/(work|root)/|registry\.npmjs|pypi\.org|pythonhosted|static\.crates\.io' -- . ":!scripts/ci/checks.sh" || true)
  if [ -n "$found" ]; then echo "$found"; return 1; fi
  echo "no file names a machine's folder or a registry's host"
}

# The sync engine against a world that fails in every known way, and the check that its bugs would be seen. The seeded
# bugs sleep until they are asked for, so one optimised build does for all, and its program for the steps that follow.
sync_sim() { cargo test --release --locked --features mutants --test sync_sim "$@"; }
step_sync_mutants() { sync_sim -- --mutants --histories 300000; }
step_sync_sim() { sync_sim -- --histories 100000; }
step_sync_figures() { sync_sim -- --figures; }
