"""Reads the files of reports with programs of others, holds each against the JSON of the same report, and looks at them.

    reports.py FOLDER AXE

FOLDER holds `NAME.json` and, beside it, the same report as html and pdf, and mostly as csv and xlsx. AXE is axe-core's
script. Needs openpyxl, poppler's pdftotext and pdftoppm, and Chromium. Where `tests/it/toolsets/reports/pictures` has a picture of
that name, it must look the same; `UPDATE_PICTURES=1` writes those of the seeded tenant anew, to be looked at before they
are kept.
"""

import base64
import concurrent.futures
import csv
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata

import openpyxl

from pictures import read_pgm, read_png

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests/it/toolsets/reports/pictures"
FONT = ROOT / "src/services/reports/render/typeset/fonts/FiraSans-Regular.ttf"

PLANNER = [
    "Task ID", "Task Name", "Bucket Name", "Progress", "Priority", "Assigned To", "Created By", "Created Date", "Start date", "Due date",
    "Is Recurring", "Late", "Completed Date", "Completed By", "Completed Checklist Items", "Checklist Items", "Labels", "Description",
]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def unquoted(text):
    return text[1:] if text.startswith("'") and text[1:].lstrip().startswith(FORMULA) else text


def check_csv(path, report):
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert list(rows[0].keys())[:18] == PLANNER, rows[0].keys()
    assert len(rows) == len(report["tasks"]) == report["counts"]["tasks"], len(rows)
    late = sum(row["Late"] == "true" for row in rows)
    assert late == report["counts"]["late"], late
    for row, task in zip(rows, report["tasks"]):
        assert unquoted(row["Task Name"]) == task["title"], (row, task)
        assert not any(cell.lstrip().startswith(FORMULA) for cell in row.values()), row
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "spreadsheet programs take it for another encoding"
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


def is_known(letter):
    """Whether the built-in fonts have the letter."""
    return unicodedata.name(letter, "").startswith(("LATIN", "GREEK", "CYRILLIC"))


def unprintable(report):
    """Names in charts in a writing that the built-in fonts do not have."""
    for section in report["sections"]:
        for name in section["body"].get("chart", {}).get("categories", []):
            letters = [letter for letter in name if letter.isalpha()]
            if letters and not any(map(is_known, letters)):
                yield name


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
    alike = set(unprintable(report))
    for number in range(1, len(alike) + 1 if len(alike) > 1 else 0):
        assert f"[… {number}]" in text, (path.name, "who is who among", alike)
    info = subprocess.run(["pdfinfo", path], check=True, capture_output=True, text=True).stdout
    assert re.search(r"Tagged:\s+yes", info), info
    fonts = subprocess.run(["pdffonts", path], check=True, capture_output=True, text=True).stdout.splitlines()[2:]
    assert fonts and all(" yes yes " in re.sub(r"\s+", " ", line) for line in fonts), "all fonts are embedded"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["pdftoppm", "-r", "36", "-gray", path, f"{folder}/page"], check=True)
        pages = sorted(pathlib.Path(folder).iterdir())
        for number, page in enumerate(pages, 1):
            compare(read_pgm(page.read_bytes()), f"{path.stem}-page-{number}", pictures)
    return len(pages)


def compare(picture, name, pictures):
    """Keeps a picture, and holds it against the one that was found good."""
    kept = pictures / f"{name}.png"
    picture.write(kept)
    assert picture.ink() > 0.004, f"{name} is blank"
    golden = GOLDEN / f"{name}.png"
    if os.environ.get("UPDATE_PICTURES") and not name.startswith("extreme"):
        GOLDEN.mkdir(exist_ok=True)
        picture.write(golden)
    if golden.exists():
        # Both as they are kept, in sixteen shades.
        wrong = read_png(kept.read_bytes()).difference(read_png(golden.read_bytes()))
        assert not wrong, f"{name} looks different: {wrong}; see {kept}"


def chromium(profile, *arguments):
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        f"--user-data-dir={profile / 'profile'}", *arguments,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout


def check_html(path, report, axe, pictures):
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?(?!#)", page), "the page loads something"
    plain = words(html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", " ", page, flags=re.S))))
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
    # Every machine has other fonts; the pictures are taken with ours, and what those do not have is not shown.
    face = base64.b64encode(FONT.read_bytes()).decode()
    style = f"<style>@font-face{{font-family:ours;src:url(data:font/ttf;base64,{face})}}body,svg{{font-family:ours!important}}</style>"
    ours = "".join("?" if letter.isalpha() and not is_known(letter) else letter for letter in page)
    shown = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", style, ours)
    for scheme in ("light", "dark"):
        flags = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "checked.html").write_text(checked, encoding="utf-8")
            (folder / "shown.html").write_text(shown, encoding="utf-8")
            dom = chromium(folder, *flags, "--virtual-time-budget=20000", "--dump-dom", (folder / "checked.html").as_uri())
            shot = [f"--screenshot={folder / 'shot.png'}", "--window-size=1000,2400", "--force-device-scale-factor=0.5"]
            chromium(folder, *flags, *shot, (folder / "shown.html").as_uri())
            picture = read_png((folder / "shot.png").read_bytes()).halved()
        found = re.search(r"<pre id=\"axe\">(.*?)</pre>", dom, re.S)
        assert found, "axe did not run"
        violations = json.loads(html.unescape(found.group(1)))
        assert violations == [], (path.name, scheme, violations)
        background = picture.pixels[0]
        assert (background > 200) == (scheme == "light"), (path.name, scheme, background)
        compare(picture, f"{path.stem}-{scheme}", pictures)


def resaved(folder):
    """The workbooks as LibreOffice, which `SOFFICE` names, reads and writes them: it repairs nothing silently that Excel
    would complain of. None where it is not asked for."""
    soffice = os.environ.get("SOFFICE")
    if not soffice:
        return None
    books = sorted(folder.glob("*.xlsx"))
    into = folder / "resaved"
    with tempfile.TemporaryDirectory() as profile:
        flags = [f"-env:UserInstallation=file://{profile}", "--headless", "--convert-to", "xlsx:Calc MS Excel 2007 XML"]
        subprocess.run([soffice, *flags, "--outdir", into, *books], check=True, capture_output=True, timeout=600)
    assert sorted(path.name for path in into.glob("*.xlsx")) == [path.name for path in books], "LibreOffice reads all"
    return into


def check(path, axe, pictures, calc):
    report = json.loads(path.read_text(encoding="utf-8"))
    told = []
    if path.with_suffix(".csv").exists():
        told.append(f"{check_csv(path.with_suffix('.csv'), report)} rows")
    if path.with_suffix(".xlsx").exists():
        told.append(f"{check_xlsx(path.with_suffix('.xlsx'), report)} cells and no formula")
        if calc:
            told.append(f"{check_xlsx(calc / path.with_suffix('.xlsx').name, report)} of them in LibreOffice")
    check_html(path.with_suffix(".html"), report, axe, pictures)
    told.append(f"{check_pdf(path.with_suffix('.pdf'), report, pictures)} pages")
    return f"{path.stem}: {', '.join(told)}, no violation"


def main():
    folder, axe = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    reports = sorted(folder.glob("*.json"))
    assert len(reports) >= 8, "there are reports of every type"
    failed, calc = 0, resaved(folder)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        checks = {path.stem: pool.submit(check, path, axe, pictures, calc) for path in reports}
        for name, result in checks.items():
            try:
                print(result.result())
            except Exception as error:  # all are to be told, not the first alone
                failed += 1
                print(f"{name}: {type(error).__name__}: {error}")
    print(f"{len(reports)} reports checked, {failed} wrong")
    sys.exit(failed > 0)


main()
