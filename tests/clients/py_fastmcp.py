"""fastmcp's client. Usage: py_fastmcp.py READY_FILE"""

import asyncio

import fastmcp
from mcp import MCPError, types

import story


def failing(method):
    """Turns the client's exceptions into the story's."""

    async def attempt(*arguments):
        try:
            return await method(*arguments)
        except MCPError as error:
            raise story.Failed(error.error.code, error.error.data) from error

    return attempt


class FastMcp:
    name, protocol, not_found = "fastmcp", fastmcp.__version__, -32602

    def __init__(self, client):
        self.client = client

    async def tools(self):
        return [tool.name for tool in await self.client.list_tools()]

    @failing
    async def call(self, tool, arguments, told):
        async def progress(done, total, _message):
            told(done, total)

        handler = progress if told else None
        result = await self.client.call_tool_mcp(tool, arguments, progress_handler=handler)
        return result.is_error, result.structured_content, result.content[0].text

    async def resources(self):
        return [str(resource.uri) for resource in await self.client.list_resources()]

    async def templates(self):
        return [template.uri_template for template in await self.client.list_resource_templates()]

    @failing
    async def read(self, uri):
        return (await self.client.read_resource(uri))[0].text

    async def complete(self, prompt, name, value):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await self.client.complete(reference, {"name": name, "value": value})).values

    async def prompts(self):
        return [prompt.name for prompt in await self.client.list_prompts()]

    async def prompt(self, name, arguments):
        return (await self.client.get_prompt(name, arguments)).messages[0].content.text


async def main():
    async with fastmcp.Client(story.readiness()["mcp_url"]) as client:
        await story.run(FastMcp(client))


asyncio.run(main())
