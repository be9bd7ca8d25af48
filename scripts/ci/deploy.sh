# shellcheck shell=bash disable=SC2154
# Steps about deployments: the package, the storage it works on, the infrastructure. Sourced by .ci/run after checks.sh.

azurite_folder=$(installed azurite tests/azurite/package-lock.json)
azurite=$azurite_folder/node_modules/.bin/azurite
dist=$run/dist

# Names the programs that tests may start.
services() {
  if [ -x "$azurite" ]; then export AZURITE=$azurite; fi
  if command -v redis-server >/dev/null; then REDIS_SERVER=$(command -v redis-server); export REDIS_SERVER; fi
}

# Azure's storage emulator, which the tests of the stores and of the host start themselves, each its own.
step_azurite() {
  if [ ! -e "$azurite_folder/done" ]; then
    rm -rf "$azurite_folder"
    mkdir -p "$azurite_folder"
    cp tests/azurite/package.json tests/azurite/package-lock.json tests/clients/.npmrc "$azurite_folder/"
    (cd "$azurite_folder" && npm ci --loglevel error)
    touch "$azurite_folder/done"
  fi
  echo "azurite $("$azurite" --version)"
}

# A Redis for the tests of shared events, which start it themselves.
step_redis() {
  if ! command -v redis-server >/dev/null; then
    apt_install redis-server
    service redis-server stop >/dev/null 2>&1 || true # the package may have started one that nobody asked for
  fi
  redis-server --version
}

# What can be linked here: the target that Azure gets, or one for the proofs alone.
package_target() {
  local target=x86_64-unknown-linux-musl
  if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || ! command -v musl-gcc >/dev/null; then
    echo "no $target on this machine: the package is static on glibc, for the proofs here alone" >&2
    target=x86_64-unknown-linux-gnu
  fi
  echo "$target"
}

step_package() {
  local target
  target=$(package_target)
  PACKAGE_TARGET=$target PACKAGE_DIST=$run/open scripts/package.sh 2>&1 | tee "$run/package.out"
  # Without the simulated tenant more could be unused than where the tests are.
  if grep '^warning' "$run/package.out"; then return 1; fi
  scripts/smoke.sh "$run/open"
  # The same program, for the journeys through the stand-in for the host: they prove the host's own keys, too.
  HTTP_AUTH_LEVEL=function PACKAGE_TARGET=$target PACKAGE_DIST=$dist scripts/package.sh
  scripts/smoke.sh "$dist"
}

# On demand: what the typesetter costs at the start, where nobody asks for paper.
step_starts() {
  step_package
  PACKAGE_TARGET=$(package_target) PACKAGE_DIST=$run/plain PACKAGE_FEATURES='' scripts/package.sh
  python3 scripts/ci/starts.py "$dist" "$run/plain"
}

# The journeys through the stand-in for the Functions host, this time with the package. Two tests change what a package holds.
step_host() {
  services
  if [ -z "${AZURITE:-}" ]; then echo "no storage emulator: the step azurite installs it"; return 1; fi
  if [ ! -d "$dist" ]; then echo "no package in this run: step package comes first"; return 77; fi
  GRAPHGATE_DIST=$dist GRAPH_LOG_DIR="$run/graph" cargo nextest run --locked --profile ci --success-output final --run-ignored all \
    -E 'binary(it) & test(/^host::/) - test(/^host::(outage::|lifecycle::sign_in_by_people)/)'
}

# With Microsoft's compiler where it is on the path, which takes no warning; with a parser elsewhere.
step_infra() {
  local compiler
  if compiler=$(command -v bicep) && "$compiler" --version | grep -q 'Bicep CLI'; then
    local file
    for file in infra/main.bicep infra/entra/main.bicep; do
      if ! "$compiler" build --stdout "$file" >"$run/template.json" 2>"$run/bicep"; then
        # The registration needs the extension for Microsoft Graph, which the compiler fetches.
        if grep -q 'BCP192' "$run/bicep"; then echo "$file: not compiled, its extension cannot be fetched here"; continue; fi
        cat "$run/bicep"
        return 1
      fi
      if [ -s "$run/bicep" ]; then cat "$run/bicep"; return 1; fi
      echo "$file: compiled by $("$compiler" --version), without a warning"
    done
  else
    echo "no Bicep compiler on the path: parsed only"
  fi
  "$python_folder/bin/python" scripts/ci/bicep.py infra
}

step_schemas() { "$python_folder/bin/python" scripts/ci/schemas.py "$cache/schemas"; }
