// mcp-remote signs a person in for a client that knows only stdio. Usage: node sign_in_remote.mjs READY_FILE (and the
// environment of sign_in.sh)
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { readiness } from './story.mjs';
import { twice } from './sign_in.mjs';

const folder = mkdtempSync(join(tmpdir(), 'mcp-remote-'));
const kept = () => {
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('tokens.json'));
  return names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
};
const transport = new StdioClientTransport({
  command: 'mcp-remote',
  args: [readiness().mcp_url, '--transport', 'http-only'],
  env: { ...process.env, MCP_REMOTE_CONFIG_DIR: folder },
});
const client = new Client({ name: 'graphgate-sign-in', version: '1.0.0' });
let first;
try {
  await client.connect(transport);
  [first] = kept();
  await twice('mcp-remote', (name, args) => client.callTool({ name, arguments: args }), () => [first, ...kept()]);
} finally {
  await client.close();
  rmSync(folder, { recursive: true });
}
