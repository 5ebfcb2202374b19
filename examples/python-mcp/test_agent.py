"""Tests of the server with the client of the same package: python -m unittest"""

import asyncio
import unittest

from mcp.client.client import Client

import agent as subject


def with_client(use):
    async def run():
        async with Client(subject.server) as client:
            return await use(client)

    return asyncio.run(run())


def call(tool, **arguments):
    return with_client(lambda client: client.call_tool(tool, arguments))


class ServerTest(unittest.TestCase):
    def test_lists_its_tools(self):
        tools = with_client(lambda client: client.list_tools()).tools
        self.assertEqual([t.name for t in tools], ["calculator", "get_time", "take_note"])

    def test_calculates(self):
        self.assertEqual(call("calculator", expression="2 * 5 + 34").structured_content, {"result": "44"})
        failed = call("calculator", expression="1 / 0")
        self.assertTrue(failed.is_error)
        self.assertIn("division by zero", failed.content[0].text)

    def test_tells_the_time(self):
        self.assertRegex(call("get_time", timezone="Europe/Paris").structured_content["result"], r"CES?T$")

    def test_keeps_notes(self):
        subject.notes.clear()  # a new session
        call("take_note", text="milk")
        self.assertEqual(call("take_note", text="bread").structured_content, {"result": 2})
        notes = with_client(lambda client: client.read_resource("notes://all"))
        self.assertEqual(notes.contents[0].text, "milk\nbread")


if __name__ == "__main__":
    unittest.main()
