# `just` lists the recipes. It installs from PyPI as `rust-just`; every recipe is also a plain command.

default:
    @just --list

# Everything CI runs
check:
    bash .ci/run

# Single steps of it, as in `just step fmt clippy`; their names are in .ci/run
step *names:
    bash .ci/run {{names}}

# The program on its simulated tenant
dev *arguments:
    cargo run --release -- dev {{arguments}}

# Formats the code
fmt:
    cargo fmt --all

# Lints
clippy:
    bash .ci/run clippy

# All tests that can run here, or those whose name matches
test *filter:
    scripts/ci/tests.sh {{filter}}

# Lines covered, by module: needs `cargo install cargo-llvm-cov` and the component llvm-tools
coverage *filter:
    python3 scripts/ci/coverage.py {{filter}}

# The working day of an agent, told by every client
stories:
    bash .ci/run node_tools python_tools release story_ts1 story_ts2_modern story_ts2_legacy story_python_modern story_python_legacy story_fastmcp client_programs

# The official MCP conformance suite, against the program and against the fixture server
conformance:
    bash .ci/run node_tools release conformance conformance_of_fixtures

# What a conversation pays for the tools
tokens:
    bash .ci/run node_tools release tokens

# The figures of docs/figures.md
bench *arguments:
    cargo bench --bench figures -- {{arguments}}
