// What a conversation pays for, in tokens of o200k_base. Usage: node tokens.mjs READY_FILE
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
import { readiness } from './story.mjs';

const url = readiness().mcp_url;

async function ask(method, params, more = {}) {
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...more };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const { result, error } = await (await fetch(url, { method: 'POST', headers, body })).json();
  if (!result || result.isError) throw new Error(JSON.stringify(error ?? result));
  return result;
}

/** A client shows a model the text or the structured content, never both: the larger counts. */
async function answer(name, args) {
  const { content, structuredContent } = await ask('tools/call', { name, arguments: args });
  const text = content.map((block) => block.text ?? '').join('\n');
  return Math.max(countTokens(text), countTokens(JSON.stringify(structuredContent)));
}

const page = (await ask('tools/call', { name: 'query_tasks', arguments: { plan_id: 'Website relaunch' } })).structuredContent;
if (page.rows.length !== 200) throw new Error(`a page has 200 tasks by default, not ${page.rows.length}`);

const figures = [
  ['tools/list of the planner toolset', countTokens(JSON.stringify(await ask('tools/list', {}, { 'x-mcp-toolsets': 'planner' }))), 5200],
  ['tools/list of the sync toolset', countTokens(JSON.stringify(await ask('tools/list', {}, { 'x-mcp-toolsets': 'sync' }))), 1000],
  ['tools/list by default', countTokens(JSON.stringify(await ask('tools/list', {}))), 8000],
  ['tools/list of everything', countTokens(JSON.stringify(await ask('tools/list', {}, { 'x-mcp-toolsets': 'all' }))), 26000],
  ['tools/list in search mode', countTokens(JSON.stringify(await ask('tools/list', {}, { 'x-mcp-mode': 'search' }))), 1000],
  ['query_tasks, 200 tasks by default', await answer('query_tasks', { plan_id: 'Website relaunch' }), 9000],
  ['generate_report', await answer('generate_report', { plans: ['Website relaunch'] }), 250],
  ['sync_status, everything up to date', await answer('sync_status', {}), 60],
  ['get_plan', await answer('get_plan', { plan_id: 'Website relaunch' }), 150],
];
for (const [what, tokens, limit] of figures) {
  console.log(`${tokens <= limit ? 'ok  ' : 'OVER'} ${what}: ${tokens} tokens (at most ${limit})`);
}
process.exitCode = figures.every(([, tokens, limit]) => tokens <= limit) ? 0 : 1;
