#!/usr/bin/env bash
# Stages in dist/ what Azure Functions runs: the program, static and without the simulated tenant, host.json, and one
# folder a function beside it. azd runs this before it packs dist/; `func start --script-root dist` runs the same folder.
#
#   PACKAGE_TARGET   x86_64-unknown-linux-musl, or x86_64-unknown-linux-gnu: static too, but its name look-ups want the
#                    C library of the machine it was built on, so it is for trying things on that machine only
#   PACKAGE_DIST     where to stage; dist
#   PACKAGE_FEATURES pdf; empty leaves the typesetter out, which takes most of the time of the build
#   PACKAGE_FONTS    a folder of fonts (.ttf, .otf, .ttc, .otc) that reports as PDF need beyond the built-in ones: it goes along as fonts/, and
#                    the setting REPORT_FONT_DIR=fonts has the program use it
#   HTTP_AUTH_LEVEL  anonymous: the host lets everybody through to the program, which asks for a sign-in or an API key. function:
#                    the host asks callers of /mcp, /api and /metrics for a key of its own; clients then cannot sign in, because
#                    its refusal does not tell them where
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${PACKAGE_TARGET:-x86_64-unknown-linux-musl}
dist=${PACKAGE_DIST:-dist}
level=${HTTP_AUTH_LEVEL:-anonymous}
readonly MAX_BYTES=$((25 * 1000 * 1000))

fail() { echo "package: $*" >&2; exit 1; }

case $level in function | anonymous) ;; *) fail "HTTP_AUTH_LEVEL is '$level': anonymous or function expected" ;; esac
features=(--features "${PACKAGE_FEATURES-pdf}")
# As one unit of code the program is smaller by a tenth; its dependencies always are.
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
build=(cargo rustc --release --locked --no-default-features "${features[@]}" --bin graphgate)
# At a fixed address nothing has to be adjusted at the start: memory and time do not grow with what is in the program and
# never used, such as the typesetter. Stack and heap lie at random places as ever. Names of functions are left out.
link=(-C relocation-model=static -C strip=symbols)
folder=${CARGO_TARGET_DIR:-target}
case $target in
  *-linux-musl)
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] ||
      fail "Rust's standard library for $target is missing: rustup target add $target"
    compiler=CC_${target//-/_}
    if [ -z "${!compiler:-}" ]; then
      command -v musl-gcc >/dev/null || fail "musl-gcc is missing: apt-get install musl-tools (or set $compiler)"
      export "$compiler=musl-gcc"
    fi
    "${build[@]}" --target "$target" -- "${link[@]}"
    program=$folder/$target/release/graphgate
    ;;
  x86_64-unknown-linux-gnu)
    # The flags go to the last link alone, so that everything before it is shared with an ordinary release build.
    "${build[@]}" -- "${link[@]}" -C target-feature=+crt-static
    program=$folder/release/graphgate
    ;;
  *) fail "no package for $target: Azure Functions runs x86_64 Linux" ;;
esac

rm -rf "$dist"
mkdir -p "$dist"
install -m 0755 "$program" "$dist/graphgate"
install -m 0644 host.json LICENSE "$dist/"
for function in functions/*/; do
  name=$(basename "$function")
  mkdir "$dist/$name"
  install -m 0644 "$function/function.json" "$dist/$name/"
done
if [ -n "${PACKAGE_FONTS:-}" ]; then
  mkdir "$dist/fonts"
  find "$PACKAGE_FONTS" -maxdepth 1 -type f \( -iname '*.[to]tf' -o -iname '*.[to]tc' \) -exec install -m 0644 {} "$dist/fonts/" \;
  [ -n "$(ls "$dist/fonts")" ] || fail "there is no font in PACKAGE_FONTS ('$PACKAGE_FONTS')"
fi
if [ "$level" = anonymous ]; then
  sed -i.bak 's/"authLevel": "function"/"authLevel": "anonymous"/' "$dist"/*/function.json
  rm -f "$dist"/*/*.bak
fi

# What must be in it, and what must not.
[ "$(stat -c %a "$dist/graphgate" 2>/dev/null || stat -f %Lp "$dist/graphgate")" = 755 ] || fail "the program is not 0755"
if command -v readelf >/dev/null && readelf -l "$dist/graphgate" | grep -q INTERP; then
  fail "the program is not static: it asks for an interpreter"
fi
for mark in '/_control' 'colleague/edit' 'Office move'; do
  if grep -aqF "$mark" "$dist/graphgate"; then fail "the simulated tenant is in the program: it holds '$mark'"; fi
done
files=$(cd "$dist" && find . -path ./fonts -prune -o -type f -print | sort)
expected=$({ printf '%s\n' ./LICENSE ./graphgate ./host.json; find functions -type f | sed 's|^functions|.|'; } | sort)
[ "$files" = "$expected" ] || fail "there are other files in $dist than expected: $files"
if grep -rlE 'AccountKey=|SharedAccessSignature=' "$dist" --include='*.json'; then fail "a secret is in $dist"; fi
packed=$(tar -C "$dist" --exclude ./fonts -cf - . | gzip -9 | wc -c)
[ "$packed" -lt "$MAX_BYTES" ] || fail "$packed bytes packed are more than $MAX_BYTES"
echo "$dist: $(wc -l <<<"$files") files for $target, HTTP_AUTH_LEVEL $level, about $((packed / 1000 / 1000)) MB packed"
if [ "$level" = function ]; then echo "$dist: the host asks for keys of its own, so clients cannot sign in"; fi
