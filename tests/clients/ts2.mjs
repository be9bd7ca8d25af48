// The TypeScript SDK v2: `auto` speaks 2026-07-28, `legacy` 2025-11-25. Usage: node ts2.mjs READY_FILE auto|legacy
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { readiness, run } from './story.mjs';

const mode = process.argv[3] ?? 'auto';
const transport = new StreamableHTTPClientTransport(new URL(readiness().mcp_url));
const client = new Client({ name: 'graphgate-story', version: '1.0.0' }, { versionNegotiation: { mode } });
await client.connect(transport);
await run(`ts2-${mode}`, {
  protocol: client.getNegotiatedProtocolVersion(),
  notFound: -32602, // the SDK gives its own code for it in both protocol versions
  tools: async () => (await client.listTools()).tools,
  call: (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress }),
  resources: async () => (await client.listResources()).resources,
  templates: async () => (await client.listResourceTemplates()).resourceTemplates,
  read: async (uri) => (await client.readResource({ uri })).contents,
  complete: async (ref, name, value) => (await client.complete({ ref, argument: { name, value } })).completion,
  prompts: async () => (await client.listPrompts()).prompts,
  prompt: (name, args) => client.getPrompt({ name, arguments: args }),
  // Only the newer protocol version can listen.
  listen: mode === 'auto' && (async (uris, told) => {
    client.setNotificationHandler('notifications/resources/updated', ({ params }) => told(params.uri));
    return client.listen({ resourceSubscriptions: uris });
  }),
  close: () => client.close(),
});
