"""Checks azure.yaml and host.json against the schemas their makers publish, and the bindings of every function.json.

The published schemas are fetched where that works; elsewhere those in ../shared/schemas are taken, where they are. The
published schema of function.json is not used: it refuses every binding, and has held a comma too many. Each kind of
binding is checked by its own definition, here.

Usage: schemas.py FOLDER, which keeps what was fetched. Ends with 77 where there is no schema.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import yaml

SCHEMAS = {
    "azure.yaml": ("https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json", "azure.yaml.json"),
    "host.json": ("https://json.schemastore.org/host.json", "host.json"),
}
BESIDE = Path("../shared/schemas")
SKIPPED = 77

NAME = {"type": "string", "pattern": r"^([A-Za-z][A-Za-z0-9]{0,127}|\$return)$"}
METHODS = ["get", "post", "put", "patch", "delete", "options", "head", "trace"]


def binding(kind: str, direction: str, required: dict, optional: dict | None = None) -> dict:
    """What a binding of a kind may and must have."""
    given = {"type": {"const": kind}, "direction": {"const": direction}, "name": NAME}
    return {
        "type": "object",
        "properties": given | required | (optional or {}),
        "required": [*given, *required],
        "additionalProperties": False,
    }


# Learn: bindings of Azure Functions for HTTP, timers and Azure Queue storage.
BINDINGS = {
    "httpTrigger": binding(
        "httpTrigger",
        "in",
        {
            "authLevel": {"enum": ["anonymous", "function", "admin"]},
            "route": {"type": "string", "pattern": "^[^/{]"},
            "methods": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": METHODS}},
        },
    ),
    "http": binding("http", "out", {}),
    "timerTrigger": binding(
        "timerTrigger",
        "in",
        {"schedule": {"type": "string", "pattern": r"^(\S+ ){5}\S+$"}},
        {"useMonitor": {"type": "boolean"}, "runOnStartup": {"type": "boolean"}},
    ),
    "queueTrigger": binding(
        "queueTrigger",
        "in",
        # Learn: naming queues and metadata.
        {"queueName": {"type": "string", "pattern": "^[a-z0-9](-?[a-z0-9]){2,62}$"}, "connection": {"type": "string"}},
    ),
}
FUNCTION = {
    "type": "object",
    "properties": {"bindings": {"type": "array", "minItems": 1}},
    "required": ["bindings"],
    "additionalProperties": False,
}


def fetched(name: str, folder: Path) -> tuple[dict, str] | None:
    """A published schema and where it comes from; None where there is none."""
    address, beside = SCHEMAS[name]
    kept = folder / f"{name}.schema"
    if kept.exists():
        return json.loads(kept.read_text()), "published"
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            text = answer.read()
        schema = json.loads(text)
        kept.write_bytes(text)
        return schema, "published"
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError, OSError) as error:
        if (BESIDE / beside).exists():
            return json.loads((BESIDE / beside).read_text()), f"{BESIDE} ({error})"
        print(f"the schema of {name} cannot be fetched: {error}")
        return None


def faults(document: object, schema: dict) -> list[str]:
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def functions() -> tuple[int, list[str]]:
    """How many function.json there are, and what is wrong with them."""
    found, files = [], sorted(Path("functions").glob("*/function.json"))
    for file in files:
        function = json.loads(file.read_text())
        wrong = faults(function, FUNCTION)
        for place, one in enumerate(function.get("bindings", [])):
            definition = BINDINGS.get(one.get("type"))
            said = faults(one, definition) if definition else [f"$: `{one.get('type')}` is no kind of binding we use"]
            wrong += [f"binding {place} {text}" for text in said]
        found += [f"{file}: {text}" for text in wrong]
    return len(files), found


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    count, found = functions()
    print(f"{count} function.json by the definitions of their bindings")
    missing = False
    for name in SCHEMAS:
        schema = fetched(name, folder)
        if schema is None:
            missing = True
            continue
        print(f"{name} against the schema of {schema[1]}")
        document = yaml.safe_load(Path(name).read_text())  # JSON is YAML, too
        found += [f"{name}: {text}" for text in faults(document, schema[0])]
    print("\n".join(found) or "nothing is wrong with them")
    if found or not count:
        return 1
    return SKIPPED if missing else 0


if __name__ == "__main__":
    sys.exit(main())
