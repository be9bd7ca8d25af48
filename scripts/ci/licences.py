"""Bans, licences and sources of all dependencies, from `cargo metadata --all-features` on standard input: packages have
features that a plain build has not, such as the typesetter.

A rule for each: every licence can be met with what is allowed here, every source is the crates registry, and no crate
is one that brings a second way of doing what the program does already.
"""

import json
import re
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}
BANNED = {
    "native-tls": "TLS is rustls on aws-lc",
    "openssl": "TLS is rustls on aws-lc",
    "openssl-sys": "TLS is rustls on aws-lc",
    "async-std": "the runtime is tokio",
}
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def met(expression):
    """Whether a licence expression can be met: AND binds tighter than OR."""
    tokens = re.findall(r"\(|\)|/|[^\s()/]+", expression)

    def either():
        held = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            held = both() or held
        return held

    def both():
        held = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            held = one() and held
        return held

    def one():
        name = tokens.pop(0)
        if name == "(":
            held = either()
            tokens.pop(0)
            return held
        if tokens and tokens[0] == "WITH":
            name = f"{name} WITH {tokens[1]}"
            del tokens[:2]
        return name in ALLOWED

    return either()


def main():
    metadata = json.load(sys.stdin)
    packages = [package for package in metadata["packages"] if package["source"]]
    faults = []
    resolved = {feature for node in metadata["resolve"]["nodes"] if node["id"] == metadata["resolve"]["root"] for feature in node["features"]}
    ours = next(package for package in metadata["packages"] if package["id"] == metadata["resolve"]["root"])
    for feature in sorted(set(ours["features"]) - resolved):
        faults.append(f"the feature `{feature}` was left out: `--all-features` is missing")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not package["license"] or not met(package["license"]):
            faults.append(f"{name}: licence {package['license']}")
        if package["source"] != REGISTRY:
            faults.append(f"{name}: source {package['source']}")
        if package["name"] in BANNED:
            faults.append(f"{name}: banned, {BANNED[package['name']]}")
    print("\n".join(faults) or f"{len(packages)} dependencies: licences, sources and bans are as they should be")
    sys.exit(bool(faults))


main()
