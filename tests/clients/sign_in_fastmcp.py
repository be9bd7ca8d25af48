"""fastmcp's client signs a person in. Usage: sign_in_fastmcp.py READY_FILE (and the environment of sign_in.sh)"""

import asyncio

import fastmcp
from fastmcp.client.auth import OAuth

import sign_in
import story


async def main():
    auth, tokens = OAuth(client_name="fastmcp", callback_timeout=60), []
    async with fastmcp.Client(story.readiness()["mcp_url"], auth=auth) as client:

        async def call(tool, arguments):
            result = await client.call_tool_mcp(tool, arguments)
            tokens.append(auth.context.current_tokens.access_token)
            return result.is_error, result.structured_content

        await sign_in.twice("fastmcp", call, tokens)


asyncio.run(main())
