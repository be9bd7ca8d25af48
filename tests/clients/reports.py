"""Reads the files of reports with programs of others, and holds each against the JSON of the same report.

    reports.py FOLDER AXE

FOLDER holds `NAME.json` and, beside it, the same report as csv, xlsx, html and pdf. AXE is axe-core's script. Needs
openpyxl, poppler's pdftotext and pdftoppm, and Chromium.
"""

import csv
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

import openpyxl

PLANNER = [
    "Task ID", "Task Name", "Bucket Name", "Progress", "Priority", "Assigned To", "Created By", "Created Date", "Start date", "Due date",
    "Is Recurring", "Late", "Completed Date", "Completed By", "Completed Checklist Items", "Checklist Items", "Labels", "Description",
]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def unquoted(text):
    return text[1:] if text.startswith("'") and text[1:].lstrip().startswith(FORMULA) else text


def check_csv(path, report):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert list(rows[0].keys())[:18] == PLANNER, rows[0].keys()
    assert len(rows) == len(report["tasks"]) == report["counts"]["tasks"], len(rows)
    late = sum(row["Late"] == "true" for row in rows)
    assert late == report["counts"]["late"], late
    for row, task in zip(rows, report["tasks"]):
        assert unquoted(row["Task Name"]) == task["title"], (row, task)
        assert not any(cell.lstrip().startswith(FORMULA) for cell in row.values()), row
    assert b"\r\n" in path.read_bytes()
    return len(rows)


def check_xlsx(path, report):
    book = openpyxl.load_workbook(path)
    cells = formulas = 0
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                cells += cell.value is not None
                formulas += cell.data_type == "f"
    assert formulas == 0, formulas
    tasks = book["Tasks"]
    head = [cell.value for cell in tasks[1]]
    assert head[:18] == PLANNER, head
    assert tasks.max_row - 1 == report["counts"]["tasks"], tasks.max_row
    assert tasks.auto_filter.ref, "the tasks can be filtered"
    for row, task in zip(tasks.iter_rows(min_row=2), report["tasks"]):
        assert row[1].value == task["title"], (row[1].value, task)
        due = row[9].value.date().isoformat() if row[9].value else None
        assert due == task.get("due"), (due, task)
    return cells


def figures(report):
    for section in report["sections"]:
        if section["body"]["kind"] == "figures":
            for figure in section["body"]["figures"]:
                yield figure["label"], f"{figure['value']:,}" + figure.get("unit", "")


def words(text):
    return re.sub(r"[\s\u200b\u00ad]+", " ", text)


def check_pdf(path, report, pictures):
    layout = subprocess.run(["pdftotext", "-layout", path, "-"], check=True, capture_output=True, text=True).stdout
    text = words(layout)
    for label, value in figures(report):
        assert label in text and value in text, (path.name, label, value)
    for section in report["sections"]:
        assert words(section["title"]) in text, (path.name, section["title"])
        if section["body"]["kind"] == "table":
            for row in section["body"]["rows"]:
                for cell in row:
                    if isinstance(cell, int):
                        assert f"{cell:,}" in text, (path.name, row)
    assert "\ufffd" not in text, "a box instead of a letter"
    info = subprocess.run(["pdfinfo", path], check=True, capture_output=True, text=True).stdout
    assert re.search(r"Tagged:\s+yes", info), info
    fonts = subprocess.run(["pdffonts", path], check=True, capture_output=True, text=True).stdout.splitlines()[2:]
    assert fonts and all(" yes yes " in re.sub(r"\s+", " ", line) for line in fonts), "all fonts are embedded"
    stem = pictures / path.stem
    subprocess.run(["pdftoppm", "-r", "80", "-png", path, stem], check=True)
    pages = sorted(pictures.glob(f"{path.stem}-[0-9]*.png"))
    for page in pages:
        assert ink(page) > 0.004, f"{page.name} is blank"
    return len(pages)


def ink(path):
    """The share of pixels of a PNG that are not white: read by hand, so that no picture library is needed."""
    bytes_ = path.read_bytes()
    place, idat, width, height, channels = 8, b"", 0, 0, 3
    while place < len(bytes_):
        length, kind = int.from_bytes(bytes_[place:place + 4], "big"), bytes_[place + 4:place + 8]
        data = bytes_[place + 8:place + 8 + length]
        if kind == b"IHDR":
            width, height = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
            channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[data[9]]
        elif kind == b"IDAT":
            idat += data
        place += 12 + length
    raw = zlib.decompress(idat)
    # Filtered rows differ from zero where neighbours differ: enough to tell print from an empty page.
    return sum(byte != 0 for byte in raw) / (width * height * channels)


def chromium(*arguments):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def check_html(path, report, axe, pictures):
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?(?!#)", page), "the page loads something"
    plain = words(html.unescape(re.sub(r"<[^>]+>", " ", page)))
    for label, value in figures(report):
        assert label in plain and value in plain, (path.name, label, value)
    # The page's policy admits no script but its own; for the check it goes, and the checker comes.
    checked = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page)
    runner = (
        "axe.run({resultTypes:['violations']}).then(r=>{const o=document.createElement('pre');o.id='axe';"
        "o.textContent=JSON.stringify(r.violations.map(v=>[v.id,v.impact,v.nodes.length,v.nodes[0].html.slice(0,200)]));"
        "document.body.append(o)})"
    )
    checked = checked.replace("</body>", f"<script>{axe}</script><script>{runner}</script></body>")
    for scheme in ("light", "dark"):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "page.html"
            copy.write_text(checked, encoding="utf-8")
            flags = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
            dom = chromium(*flags, "--virtual-time-budget=20000", "--dump-dom", copy.as_uri())
        found = re.search(r"<pre id=\"axe\">(.*?)</pre>", dom, re.S)
        assert found, "axe did not run"
        violations = json.loads(html.unescape(found.group(1)))
        assert violations == [], (path.name, scheme, violations)
        picture = pictures / f"{path.stem}-{scheme}.png"
        chromium(*flags, "--window-size=1000,1400", f"--screenshot={picture}", path.as_uri())
        assert ink(picture) > 0.004, f"{picture.name} is blank"


def main():
    folder, axe = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    reports = sorted(path for path in folder.glob("*.json"))
    assert reports, "there are reports"
    for path in reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = check_csv(path.with_suffix(".csv"), report)
        cells = check_xlsx(path.with_suffix(".xlsx"), report)
        check_html(path.with_suffix(".html"), report, axe, pictures)
        pages = check_pdf(path.with_suffix(".pdf"), report, pictures) if path.with_suffix(".pdf").exists() else 0
        print(f"{path.stem}: {rows} rows, {cells} cells, no formula, no violation, {pages} pages")


main()
