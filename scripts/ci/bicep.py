"""Parses every Bicep file below a folder, and checks what a parser alone does not see: every module named exists, gets every
parameter it demands and none it does not know, and every output that is used is given.

Usage: bicep.py FOLDER
"""

import re
import sys
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))


def syntax(path: Path, source: bytes) -> list[str]:
    # The grammar is older than this one statement.
    source = re.sub(rb"^extension [^\n]*", b"", source, flags=re.MULTILINE)
    found, nodes = [], [PARSER.parse(source).root_node]
    while nodes:
        node = nodes.pop()
        if node.type == "ERROR" or node.is_missing:
            text = source[node.start_byte : node.end_byte][:60].decode(errors="replace")
            found.append(f"{path}:{node.start_point[0] + 1}: cannot be parsed: {text!r}")
        else:
            nodes.extend(node.children)
    return found


def block(text: str, start: int) -> str:
    """What stands between the brace at or after `start` and its partner."""
    start = text.index("{", start)
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place]
    raise ValueError("a brace is not closed")


def names(content: str) -> set[str]:
    """The keys of an object at its own level."""
    depth, flat = 0, []
    for letter in content:
        depth -= letter in "}])"
        flat.append(letter if depth == 0 else " ")
        depth += letter in "{[("
    return set(re.findall(r"(?:^|[\n,{])\s*([A-Za-z_]\w*)\s*:", "".join(flat)))


def modules(path: Path, text: str) -> list[str]:
    found = []
    for symbol, target in re.findall(r"^module (\w+) '([^']+)'", text, flags=re.MULTILINE):
        file = path.parent / target
        if not file.exists():
            found.append(f"{path}: module {symbol}: there is no {target}")
            continue
        inner = file.read_text()
        body = block(text, re.search(rf"^module {symbol} ", text, flags=re.MULTILINE).start())
        given = names(block(body, body.index("params:")))
        known = set(re.findall(r"^param (\w+) ", inner, flags=re.MULTILINE))
        demanded = set(re.findall(r"^param (\w+) [\w\[\]]+ *$", inner, flags=re.MULTILINE))
        found += [f"{path}: module {symbol} does not know {name}" for name in sorted(given - known)]
        found += [f"{path}: module {symbol} demands {name}" for name in sorted(demanded - given)]
        outputs = set(re.findall(r"^output (\w+) ", inner, flags=re.MULTILINE))
        used = set(re.findall(rf"\b{symbol}!?\.outputs\.(\w+)", text))
        found += [f"{path}: module {symbol} has no output {name}" for name in sorted(used - outputs)]
    return found


def unused(path: Path, text: str) -> list[str]:
    declared = re.findall(r"^(?:param|var) (\w+) ", text, flags=re.MULTILINE)
    return [f"{path}: {name} is not used" for name in declared if len(re.findall(rf"\b{name}\b", text)) < 2]


def main() -> int:
    files = sorted(Path(sys.argv[1]).rglob("*.bicep"))
    found = []
    for path in files:
        text = path.read_text()
        found += syntax(path, text.encode()) + modules(path, text) + unused(path, text)
    print("\n".join(found) or f"{len(files)} Bicep files parse and fit together")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
