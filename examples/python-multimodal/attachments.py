"""Reads the workbook and the image of a payload, and makes of them what a model takes."""

import base64
import binascii
import csv
import io
import warnings
from collections import Counter

import openpyxl
from PIL import Image

# What the Converse API takes in one block. A payload may be a hundred times that.
MAX_DOCUMENT = 4_500_000
MAX_IMAGE = 3_750_000
MAX_SIDE = 1568  # pixels; models scale larger images down themselves

MAX_CELLS = 2_000_000  # that are read of a sheet
EXCERPT_ROWS = 1000  # of a large workbook that the model is shown


class Workbook:
    """An Excel workbook."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        try:
            self._book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        except Exception as e:
            raise ValueError(f"excel_data is not an .xlsx workbook: {e}") from None

    def describe(self) -> str:
        """Tell each sheet's size and columns, with the sum of the columns of numbers."""
        return " ".join(self._describe(sheet) for sheet in self._book.worksheets)

    def _describe(self, sheet) -> str:
        rows = sheet.iter_rows(values_only=True)
        header = next(rows, ())
        sums: dict[int, float] = {}
        count = 0
        for count, row in enumerate(rows, 1):
            for i, value in enumerate(row):
                if isinstance(value, int | float) and not isinstance(value, bool):
                    sums[i] = sums.get(i, 0) + value
            if count * max(len(header), 1) > MAX_CELLS:
                break
        columns = (f"{name} (sum {sums[i]:g})" if i in sums else str(name) for i, name in enumerate(header))
        return f"Sheet {sheet.title} has {count} rows of {', '.join(columns)}."

    def block(self) -> dict:
        """Return the workbook as a document block; of a large one its first rows, as CSV."""
        if len(self.data) <= MAX_DOCUMENT:
            return document("xlsx", "workbook", self.data)
        text = io.StringIO()
        writer = csv.writer(text)
        for row in self._book.worksheets[0].iter_rows(values_only=True, max_row=EXCERPT_ROWS):
            writer.writerow(row)
        return document("csv", "first rows of the workbook", text.getvalue().encode()[:MAX_DOCUMENT])


class Picture:
    """An image in a format that models take: PNG, JPEG, GIF or WebP."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                self._image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP"))
                self._image.load()
        except Exception as e:
            raise ValueError(f"image_data is not an image: {e}") from None

    def describe(self) -> str:
        """Tell the size and the colours that fill most of the image."""
        small = self._image.convert("RGB")
        small.thumbnail((100, 100), Image.Resampling.NEAREST)
        pixels = Counter(small.get_flattened_data())
        colours = (f"rgb{colour} ({n * 100 / pixels.total():.0f} %)" for colour, n in pixels.most_common(3))
        width, height = self._image.size
        return f"The image is a {self._image.format} of {width} x {height} pixels, mostly {', '.join(colours)}."

    def block(self) -> dict:
        """Return an image block; a large image is scaled down."""
        if len(self.data) <= MAX_IMAGE and max(self._image.size) <= MAX_SIDE:
            return {"image": {"format": self._image.format.lower(), "source": {"bytes": self.data}}}
        small = self._image.convert("RGB")
        small.thumbnail((MAX_SIDE, MAX_SIDE))
        out = io.BytesIO()
        small.save(out, "JPEG", quality=85)
        return {"image": {"format": "jpeg", "source": {"bytes": out.getvalue()}}}


def document(format: str, name: str, data: bytes) -> dict:
    return {"document": {"format": format, "name": name, "source": {"bytes": data}}}


def decode(payload: dict, field: str) -> bytes | None:
    """Return the bytes of a payload's base64 field, None if it is not there."""
    text = payload.pop(field, None)  # the text is no longer needed, and may be large
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error) as e:
        raise ValueError(f"{field} is not base64: {e}") from None
