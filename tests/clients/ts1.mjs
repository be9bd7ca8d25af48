// The TypeScript SDK v1, which speaks 2025-11-25. Usage: node ts1.mjs READY_FILE
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { readiness, run } from './story.mjs';

const transport = new StreamableHTTPClientTransport(new URL(readiness().mcp_url));
const client = new Client({ name: 'graphgate-story', version: '1.0.0' });
await client.connect(transport);
await run('ts1', {
  protocol: transport.protocolVersion,
  notFound: -32002,
  tools: async () => (await client.listTools()).tools,
  call: (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress }),
  resources: async () => (await client.listResources()).resources,
  templates: async () => (await client.listResourceTemplates()).resourceTemplates,
  read: async (uri) => (await client.readResource({ uri })).contents,
  complete: async (ref, name, value) => (await client.complete({ ref, argument: { name, value } })).completion,
  prompts: async () => (await client.listPrompts()).prompts,
  prompt: (name, args) => client.getPrompt({ name, arguments: args }),
  close: () => client.close(),
});
