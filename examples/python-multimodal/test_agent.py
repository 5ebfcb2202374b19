"""Tests of the agent with its scripted model: python -m unittest"""

import base64
import io
import os
import unittest

# No real model and no waiting, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "0"

import openpyxl
from PIL import Image

import agent as subject
from attachments import MAX_DOCUMENT, MAX_SIDE, Picture, Workbook
from sample import image, payload, workbook


def ask(payload):
    return subject.invoke(payload, None)


class AgentTest(unittest.TestCase):
    def setUp(self):
        subject.agent.messages.clear()  # a new session
        subject.Attachments.workbook = subject.Attachments.picture = None

    def test_reads_both(self):
        size = len(workbook()), len(image(400, 100))
        self.assertEqual(
            ask(payload(0)),
            f"I got a xlsx document of {size[0]} bytes. I got a png image of {size[1]} bytes. "
            "Sheet Sales has 4 rows of region, units (sum 440), price (sum 40.75). "
            "The image is a PNG of 400 x 100 pixels, mostly rgb(220, 40, 40) (75 %), rgb(40, 60, 200) (25 %).",
        )

    def test_either(self):
        both = payload(0)
        self.assertNotIn("image", ask({"excel_data": both["excel_data"]}))
        self.assertNotIn("Sheet", ask({"image_data": both["image_data"]}))
        self.assertIn("neither", ask({"prompt": "hello"}))

    def test_what_is_neither(self):
        self.assertIn("not base64", ask({"excel_data": "%"})["error"])
        self.assertIn("not an .xlsx", ask({"excel_data": "AAAA"})["error"])
        self.assertIn("not an image", ask({"image_data": "AAAA"})["error"])

    def test_a_large_image_is_scaled_down_for_the_model_only(self):
        picture = Picture(base64.b64decode(payload(20)["image_data"]))
        self.assertGreater(len(picture.data), 14_000_000)
        block = picture.block()["image"]
        self.assertEqual(block["format"], "jpeg")
        self.assertEqual(max(Image.open(io.BytesIO(block["source"]["bytes"])).size), MAX_SIDE)
        self.assertIn("of 4000 x ", picture.describe())

    def test_of_a_large_workbook_the_model_sees_the_first_rows(self):
        book = openpyxl.Workbook()
        for i in range(2000):
            book.active.append([i, i * i])
        out = io.BytesIO()
        book.save(out)
        large = Workbook(out.getvalue())
        large.data += bytes(MAX_DOCUMENT)
        block = large.block()["document"]
        self.assertEqual(block["format"], "csv")
        self.assertEqual(block["source"]["bytes"].splitlines()[-1], b"999,998001")
        self.assertIn("1999 rows", large.describe())


if __name__ == "__main__":
    unittest.main()
