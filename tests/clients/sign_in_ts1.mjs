// The TypeScript SDK v1 signs a person in. Usage: node sign_in_ts1.mjs READY_FILE (and the environment of sign_in.sh)
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { readiness } from './story.mjs';
import { twice } from './sign_in.mjs';

const url = new URL(readiness().mcp_url);
const landed = Promise.withResolvers();
const listener = createServer((request, answer) => {
  const address = new URL(request.url, 'http://127.0.0.1');
  if (address.pathname === '/callback') landed.resolve(address.searchParams);
  answer.end('You may close this page.');
});
await new Promise((begun) => { listener.listen(0, '127.0.0.1', begun); });

/** Keeps everything in memory. */
class Provider {
  saved = [];
  states = [];
  get redirectUrl() { return `http://127.0.0.1:${listener.address().port}/callback`; }
  get clientMetadata() {
    return { client_name: 'TypeScript SDK v1', redirect_uris: [this.redirectUrl], token_endpoint_auth_method: 'none' };
  }
  state() { return this.states[this.states.push(crypto.randomUUID()) - 1]; }
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.saved.at(-1); }
  saveTokens(tokens) { this.saved.push(tokens); }
  redirectToAuthorization(address) { execFile(process.env.BROWSER, [address.href]); }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
}

const authProvider = new Provider();
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(url, { authProvider });
  const client = new Client({ name: 'graphgate-sign-in', version: '1.0.0' });
  return client.connect(transport).then(() => ({ client }), (error) => ({ error, transport }));
};

const { error, transport } = await connect();
if (!(error instanceof UnauthorizedError)) throw error ?? new Error('connected without a token');
const answer = await landed.promise;
if (answer.get('state') !== authProvider.states.at(-1)) throw new Error(`another state: ${answer}`);
await transport.finishAuth(answer.get('code'));
const { client, error: later } = await connect();
if (later) throw later;
await twice('TypeScript SDK v1', (name, args) => client.callTool({ name, arguments: args }), () => authProvider.saved);
await client.close();
listener.close();
