"""The Python SDK, which holds every structured answer against its schema. Usage: py_mcp.py READY_FILE auto|legacy"""

import asyncio
import sys

from mcp import MCPError, types
from mcp.client.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

import story


def failing(method):
    """Turns the SDK's exceptions into the story's."""

    async def attempt(*arguments):
        try:
            return await method(*arguments)
        except MCPError as error:
            raise story.Failed(error.error.code, error.error.data) from error

    return attempt


class Py:
    def __init__(self, client, mode):
        self.sdk, self.name, self.protocol = client, f"py-{mode}", client.protocol_version
        self.not_found = -32602 if self.protocol >= "2026-07-28" else -32002

    async def tools(self):
        tools = (await self.sdk.list_tools()).tools
        return [tool.name for tool in tools]

    @failing
    async def call(self, tool, arguments, told):
        async def progress(done, total, _message):
            told(done, total)

        result = await self.sdk.call_tool(tool, arguments, progress_callback=progress if told else None)
        return result.is_error, result.structured_content, result.content[0].text

    async def resources(self):
        return [resource.uri for resource in (await self.sdk.list_resources()).resources]

    async def templates(self):
        return [template.uri_template for template in (await self.sdk.list_resource_templates()).resource_templates]

    @failing
    async def read(self, uri):
        return (await self.sdk.read_resource(uri)).contents[0].text

    async def complete(self, prompt, name, value):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await self.sdk.complete(reference, {"name": name, "value": value})).completion.values

    async def prompts(self):
        return [prompt.name for prompt in (await self.sdk.list_prompts()).prompts]

    async def prompt(self, name, arguments):
        return (await self.sdk.get_prompt(name, arguments)).messages[0].content.text


async def main(mode):
    transport = streamable_http_client(story.readiness()["mcp_url"], http_client=create_mcp_http_client())
    async with Client(transport, mode=mode) as client:
        await story.run(Py(client, mode))


asyncio.run(main(sys.argv[2] if len(sys.argv) > 2 else "auto"))
