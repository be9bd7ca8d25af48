// The Inspector's command line signs a person in, and finds the token that it keeps in a folder in later runs.
// Usage: node sign_in_inspector.mjs READY_FILE [PORT] (and the environment of sign_in.sh). With a port, which the server
// has to allow, the client is a document there; otherwise it registers.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { check, readiness } from './story.mjs';
import { twice } from './sign_in.mjs';

const port = process.argv[3];
const listening = (server, on) => new Promise((begun) => { server.listen(on, '127.0.0.1', () => begun(server.address().port)); });
const probe = createServer();
const callback = `http://127.0.0.1:${await listening(probe, 0)}/oauth/callback`;
await new Promise((closed) => { probe.close(closed); });

const id = `http://127.0.0.1:${port}/client.json`;
let asked = 0;
const documents = createServer((request, answer) => {
  asked += request.url === '/client.json' ? 1 : 0;
  answer.setHeader('content-type', 'application/json');
  answer.end(JSON.stringify({
    client_id: id, client_name: 'Inspector by document', redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none',
  }));
});
if (port) await listening(documents, Number(port));

const folder = mkdtempSync(join(tmpdir(), 'inspector-'));
const env = {
  ...process.env, MCP_STORAGE_DIR: folder, MCP_INSPECTOR_SECRET_STORE: 'file', MCP_AUTO_OPEN_ENABLED: 'true',
  MCP_CATALOG_PATH: join(folder, 'mcp.json'),
};
const tokens = [];
async function call(tool, args) {
  const words = ['--cli', readiness().mcp_url, '--transport', 'http', '--format', 'json', '--callback-url', callback];
  if (port) words.push('--client-metadata-url', id);
  words.push('--method', 'tools/call', '--tool-name', tool, '--tool-args-json', JSON.stringify(args));
  const { stdout } = await promisify(execFile)('mcp-inspector', words, { env });
  const { secrets } = JSON.parse(readFileSync(join(folder, 'secrets.json'), 'utf8'));
  const [kept] = Object.entries(secrets).filter(([name]) => name.includes(':tokens:'));
  tokens.push(JSON.parse(kept[1]));
  const answer = JSON.parse(stdout);
  return answer.result ?? answer;
}

try {
  await twice(port ? 'Inspector, as a document' : 'Inspector', call, () => tokens);
  if (port) check(asked > 0, 'the document was read', asked);
} finally {
  rmSync(folder, { recursive: true });
  documents.close();
}
