"""Prints a payload with a small workbook and an image, of about as many
megabytes as you say (at most 99): python3 sample.py 99 > payload.json

It needs no packages. Most of a large payload is the image, which is stored
without compression.
"""

import base64
import io
import json
import struct
import sys
import zipfile
import zlib

ROWS = [("region", "units", "price"), ("North", 120, 9.5), ("South", 80, 11), ("East", 200, 8.25), ("West", 40, 12)]
RED, BLUE = bytes((220, 40, 40)), bytes((40, 60, 200))

SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook() -> bytes:
    """Return a workbook with ROWS in its one sheet, Sales."""
    rows = "".join(f'<row r="{i}">{"".join(cell("ABC"[j], i, v) for j, v in enumerate(row))}</row>' for i, row in enumerate(ROWS, 1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{KIND}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{KIND}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{SHEETS}" xmlns:r="{OFFICE}">'
        '<sheets><sheet name="Sales" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{SHEETS}"><sheetData>{rows}</sheetData></worksheet>',
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{xml}')
    return file.getvalue()


def cell(column: str, row: int, value: str | float) -> str:
    if isinstance(value, str):
        return f'<c r="{column}{row}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{column}{row}"><v>{value}</v></c>'


def image(width: int, height: int) -> bytes:
    """Return a PNG whose left three quarters are red and whose right quarter is blue."""
    line = b"\0" + RED * (width - width // 4) + BLUE * (width // 4)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(line * height, 0)) + chunk(b"IEND", b"")


def payload(megabytes: float) -> dict:
    """Return a payload whose JSON has about so many megabytes."""
    width = 400 if megabytes < 1 else 4000
    height = max(100, int((megabytes * 1e6 - 5000) * 3 / 4 / (3 * width + 2)))  # base64 makes 4 bytes of 3
    return {
        "prompt": "What do the workbook and the image show?",
        "excel_data": base64.b64encode(workbook()).decode(),
        "image_data": base64.b64encode(image(width, height)).decode(),
    }


if __name__ == "__main__":
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 0
    if not 0 <= megabytes <= 99:
        sys.exit("a payload has at most 100 MB: give a number up to 99")
    json.dump(payload(megabytes), sys.stdout)
