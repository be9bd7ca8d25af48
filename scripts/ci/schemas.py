"""Checks azure.yaml, host.json and every function.json against the schemas their makers publish.

Usage: schemas.py FOLDER, which keeps what was fetched. Ends with 77 where the addresses cannot be reached.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import yaml

SCHEMAS = {
    "azure.yaml": "https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json",
    "host.json": "https://json.schemastore.org/host.json",
    "function.json": "https://json.schemastore.org/function.json",
}
SKIPPED = 77


def schema(name: str, folder: Path) -> dict:
    kept = folder / f"{name}.schema"
    if not kept.exists():
        with urllib.request.urlopen(SCHEMAS[name], timeout=20) as answer:
            kept.write_bytes(answer.read())
    return json.loads(kept.read_text())


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        schemas = {name: schema(name, folder) for name in SCHEMAS}
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"the published schemas cannot be fetched: {error}")
        return SKIPPED
    files = [Path("azure.yaml"), Path("host.json"), *sorted(Path("functions").glob("*/function.json"))]
    found = 0
    for file in files:
        document = yaml.safe_load(file.read_text())  # JSON is YAML, too
        rules = schemas[file.name]
        for error in jsonschema.validators.validator_for(rules)(rules).iter_errors(document):
            print(f"{file}: {error.json_path}: {error.message}")
            found += 1
    print(f"{len(files)} files against {len(schemas)} published schemas")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
