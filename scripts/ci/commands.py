"""Runs the commands of our own documents: every `console` block of README.md, CONTRIBUTING.md and docs/*.md. A `python` or
`sh` block has to stand in a file of tests/clients, which a step of .ci/run runs.

Usage: commands.py PROGRAM READY_FILE. `graphgate` and `curl` talk to the server of `graphgate dev` that wrote READY_FILE, in
an empty folder. What cannot run here is checked as far as it can be: scripts for their flags, `cargo` and `.ci/run` for
the names they are given, settings for being listed. NOT_RUN says why for the rest. A command that no rule covers fails.
(That clap takes every `graphgate` line is a test of `src/cli/mod.rs`.)
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 60  # seconds
# Programs that are not run, with the reason.
NOT_RUN = {
    "az": "needs a subscription of Azure",
    "azd": "needs a subscription of Azure",
    "claude": "changes the settings of Claude Code; the official clients have steps of their own",
    "cloudflared": "opens a tunnel from the internet",
    "devtunnel": "opens a tunnel from the internet",
    "ngrok": "opens a tunnel from the internet",
}
# Commands of `graphgate` that are not run, with the reason; their options are looked up in their help.
HELP_ONLY = {
    "serve": "needs a tenant of Microsoft 365",
    "sim": "runs until it is stopped; the stories start it",
    "dev": "runs until it is stopped; this script asks one",
    "keys renew": "needs a signing key; tested in tests/it/auth/signed.rs",
    "accounts disconnect": "needs somebody who has signed in; what it does is tested in tests/it/auth/sign_in",
    "clients --people": "needs somebody who has signed in; tests/clients/crm_backend.py runs it",
    "sync watch": "runs until it is stopped; tested in tests/it/cli",
    "sync restore": "needs a conflict; tested in tests/it/cli",
}
# Blocks of code, and which files hold them.
CODE = {"python": "*.py", "sh": "*.sh"}
# Files that the documents name.
FILES = {
    "tasks.csv": "title,due_date\nFrom a file,2026-12-01\n",
    "changes.json": '[{"task_id": "TASK_ID", "priority": "urgent"}]',
}
# An own deployment's store, for commands that work on one and on no server; every page has its own.
OWN = "11111111-1111-1111-1111-111111111111"
STORE = {"AZURE_TENANT_ID": OWN, "AZURE_CLIENT_ID": OWN, "AZURE_CLIENT_SECRET": "b"}
STORE |= {"SIGN_IN_CLIENT_ID": OWN, "PUBLIC_URL": "https://gate.contoso.com"}


class Wrong(Exception):
    """Why a command of the documents is wrong."""


def commands(page):
    """The commands of a page, each with the number of its line; continued lines are one, and so is a block of code."""
    within, number, command, code = None, 0, "", []
    for line_number, whole in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        line = whole.strip()
        if line.startswith("```"):
            if within in CODE:
                yield number, "\n".join([f"```{within}", *code])
            within, number, code = None if within is not None else line.removeprefix("```").strip(), line_number, []
            if within is not None and within not in ("console", "text", "json", *CODE):
                yield line_number, f"```{within}"
        elif within in CODE:
            code.append(whole)
        elif within == "console" and (command or line.startswith("$ ")):
            number = number if command else line_number
            command += line.removeprefix("$ ") if not command else f" {line}"
            if command.endswith("\\"):
                command = command[:-1].rstrip()
            else:
                yield number, command
                command = ""


def simple_commands(command):
    """The words of each command that `&&` joins, without comments; first of those whose output goes into it."""
    inner = re.findall(r"\$\(([^()]*)\)", command)
    return [words for text in [*inner, re.sub(r"\$\([^()]*\)", "OUTPUT", command)] for words in joined(text)]


def joined(command):
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    simple = [[]]
    for word in lexer:
        if word == "&&":
            simple.append([])
        else:
            simple[-1].append(word)
    return simple


class Documents:
    """Commands with what they need: the program, the servers it talks to, a folder."""

    def __init__(self, program, ready, folder):
        self.program, self.ready, self.folder, self.store = program, ready, pathlib.Path(folder), "store"
        self.environment = {
            **os.environ,
            "GRAPHGATE_SERVER": ready["mcp_url"],
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "NO_COLOR": "1",
        }
        found = json.loads(self.run([program, "task", "list", "--plan", "Website relaunch", "-o", "json"]))
        plans = json.loads(self.run([program, "plan", "list", "-o", "json"]))["plans"]
        plan = next(plan["id"] for plan in plans if plan["title"] == "Website relaunch")
        self.names = {"TASK_ID": found["tasks"][0]["id"], "PLAN_ID": plan}
        for name, text in FILES.items():
            (self.folder / name).write_text(self.named(text), encoding="utf-8")

    def run(self, words, environment=None, good=(0,)):
        """Runs words and returns what they print."""
        try:
            ran = subprocess.run(
                words, env={**self.environment, **(environment or {})}, cwd=self.folder, input="a key\n",
                capture_output=True, text=True, timeout=LIMIT, check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"no end after {LIMIT} s") from error
        if ran.returncode not in good:
            raise Wrong(f"ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def named(self, text):
        """A text with this tenant's own ids and addresses."""
        for name, value in self.names.items():
            text = text.replace(name, value)
        text = text.replace("http://127.0.0.1:7071/", self.ready["api_url"])
        return text.replace("http://127.0.0.1:7072/_control", self.ready["control_url"].rstrip("/"))

    def graphgate(self, words):
        commands = [" ".join(words[:2]), words[0], *(f"{words[0]} {word}" for word in words if word.startswith("--"))]
        if reason := next((HELP_ONLY[command] for command in commands if command in HELP_ONLY), None):
            command = [word for word in words[:2] if re.fullmatch("[a-z][a-z-]*", word)]
            has_flags(self.run([self.program, *command, "--help"]), words)
            return f"help: {reason}"
        store = {**STORE, "DATA_DIR": str(self.folder / self.store)} if words[0] in ("keys", "clients", "accounts") else None
        self.run([self.program, *words], store)
        return "run"

    def curl(self, words):
        streams = "-N" in words
        # A stream has no end: it has been answered when the time is over.
        seconds, good = ("2", (28,)) if streams else (str(LIMIT), (0,))
        words = [word.replace("$GRAPHGATE_API_KEY", "none") for word in words]
        self.run(["curl", "--silent", "--show-error", "--fail", "--max-time", seconds, *words], good=good)
        return "run"

    def script(self, name, words):
        text = (ROOT / name).read_text(encoding="utf-8")
        if not os.access(ROOT / name, os.X_OK):
            raise Wrong(f"{name} cannot be executed")
        has_flags(self.run(["bash", str(ROOT / name), "--help"]) + text, words)
        return "flags"

    def one(self, words):
        """Checks one command; returns how."""
        settings = []
        while words and re.match(r"[A-Za-z_]+=", words[0]):
            settings.append(words.pop(0))
        if words and words[0] == "export":
            settings += words[1:]
            words = []
        for setting in settings:
            known_setting(setting.partition("=")[0])
        if not words:
            return "settings"
        program, arguments = words[0], [self.named(word) for word in words[1:]]
        if program in NOT_RUN:
            return f"not run: {NOT_RUN[program]}"
        if program == "graphgate":
            return self.graphgate(arguments)
        if program == "curl":
            return self.curl(arguments)
        if program == "openssl":
            self.run([program, *arguments])
            return "run"
        if program == "cargo":
            return cargo(arguments)
        if program == "bash" and arguments[0] == ".ci/run":
            return ci_steps(arguments[1:])
        if program == "bash" and arguments[0].startswith("scripts/"):
            return self.script(arguments[0], arguments[1:])
        if program.startswith("scripts/"):
            return self.script(program, arguments)
        raise Wrong("no rule of scripts/ci/commands.py covers it")


def has_flags(text, words):
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text):
            raise Wrong(f"`{flag}` is unknown")


def known_setting(name):
    if name in ("KEY", "SSL_CERT_FILE"):  # the shell's own, and that of the system's TLS
        return
    settings = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    if f"| `{name}` |" in settings:
        return
    read = subprocess.run(["git", "grep", "-qw", name, "--", "tests", "benches"], cwd=ROOT, check=False)
    if read.returncode != 0:
        raise Wrong(f"nothing reads `{name}`")


def cargo(words):
    """The names in a line of cargo exist; it would build for minutes, and steps of their own run it."""
    for option, folder in (("--test", "tests"), ("--bench", "benches")):
        if option in words:
            name = words[words.index(option) + 1]
            if not any((ROOT / folder / path).exists() for path in (name, f"{name}.rs")):
                raise Wrong(f"there is no `{option} {name}`")
    filters = re.findall(r"test\(([^)]*)\)", " ".join(words))
    if words[0] == "test" and "--test" in words:
        filters += [word for word in words[words.index("--test") + 2 :][:1] if not word.startswith("-")]
    for text in filters:
        parts = text.strip("/^$").split("::")
        pattern = rf"(fn|mod) {parts[-1]}"
        found = subprocess.run(["git", "grep", "-qE", pattern, "--", "src", "tests", "crates"], cwd=ROOT, check=False)
        if found.returncode != 0:
            raise Wrong(f"no test is called `{text}`")
    return "names: a build of its own"


def excerpt(language, code):
    """The file in which a block of code stands as it is, but for what stands in front of all its lines."""
    for file in sorted((ROOT / "tests/clients").glob(CODE[language])):
        text = file.read_text(encoding="utf-8")
        if any(f"\n{textwrap.indent(code, indent)}\n" in text for indent in ("", "    ")):
            return file
    raise Wrong("no file of tests/clients says the same")


def ci_steps(names):
    known = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts/ci").glob("*.sh"))
    for name in names:
        if f"step_{name}()" not in known:
            raise Wrong(f"there is no step `{name}`")
    return "names: this very run"


def main():
    _, program, ready = sys.argv
    ready = json.loads(pathlib.Path(ready).read_text(encoding="utf-8"))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    how, wrong = {}, []
    with tempfile.TemporaryDirectory() as folder:
        documents = Documents(str(pathlib.Path(program).resolve()), ready, folder)
        for page in pages:
            documents.store = f"store-{page.stem}"
            for number, command in commands(page):
                place = f"{page.relative_to(ROOT)}:{number}"
                try:
                    language, _, code = command.removeprefix("```").partition("\n")
                    if command.startswith("```") and language in CODE:
                        file = excerpt(language, code)
                        how.setdefault("excerpts", []).append(f"{place}: {file.relative_to(ROOT)}")
                        continue
                    if command.startswith("```"):
                        raise Wrong("a block is `console` with commands behind `$ `, or `text`, `json`, `python` or `sh`")
                    for words in simple_commands(command):
                        how.setdefault(documents.one(words[:]), []).append(f"{place}: {' '.join(words)}")
                except (Wrong, ValueError) as error:
                    wrong.append(f"{place}: {command}\n    {error}")
    for done, lines in sorted(how.items()):
        print(f"{done} ({len(lines)})", *lines, sep="\n  ")
    if wrong:
        sys.exit("\n".join(["wrong in the documents:", *wrong]))
    run = len(how.get("run", []))
    print(f"{sum(map(len, how.values()))} commands of the documents are right, {run} of them were run")
    if run < 20:
        sys.exit("at least 20 were expected to run")


main()
