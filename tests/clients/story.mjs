// One working day of an agent, told by any MCP client: whatever the client, the story and what it proves are the same.
// A client is an object with `protocol`, `notFound` (the code of a missing resource), `tools`, `call`, `resources`,
// `templates`, `read`, `complete`, `prompts`, `prompt`; failures of the protocol are exceptions with `code` and `data`.
import { readFileSync } from 'node:fs';

const SEEDED = 'Website relaunch';
const BULK = 200;

let checks = 0;

/** Fails with everything that was received. */
export function check(holds, what, received) {
  checks += 1;
  if (!holds) throw new Error(`${what}\nreceived: ${JSON.stringify(received, null, 1)}`);
}

/** What the server wrote when it was ready. */
export function readiness() {
  return JSON.parse(readFileSync(process.argv[2], 'utf8'));
}

export async function run(name, client) {
  try {
    await tell(name, client, readiness());
    console.log(`${name} ${client.protocol}: ${checks} checks passed`);
  } catch (error) {
    console.error(`${name} ${client.protocol} failed after ${checks} checks: ${error.stack ?? error}`);
    process.exitCode = 1;
  }
  await client.close();
}

async function post(url, body, token) {
  const headers = { 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  const received = await answer.json();
  check(answer.ok, `POST ${url}`, received);
  return received;
}

/** A person's second bucket of a name, made in Planner itself. */
async function twinBucket(ready, planId, name) {
  const form = new URLSearchParams({
    grant_type: 'client_credentials', client_id: ready.client_id, client_secret: ready.client_secret,
    scope: 'https://graph.microsoft.com/.default',
  });
  const answer = await fetch(`${ready.authority_url}${ready.tenant_id}/oauth2/v2.0/token`, { method: 'POST', body: form });
  const { access_token: token } = await answer.json();
  await post(`${ready.graph_url}/planner/buckets`, { name, planId, orderHint: ' !' }, token);
}

async function tell(name, client, ready) {
  const ok = async (tool, args, told) => {
    const result = await client.call(tool, args, told);
    check(!result.isError && result.structuredContent, `${tool} answers`, result);
    check(result.content?.[0]?.type === 'text', `${tool} says it in text too`, result);
    return result.structuredContent;
  };
  const refused = async (tool, args, ...words) => {
    const result = await client.call(tool, args);
    const text = result.content?.[0]?.text ?? '';
    check(result.isError === true, `${tool} ${JSON.stringify(args)} is refused`, result);
    for (const word of words) check(text.includes(word), `the refusal says "${word}"`, result);
    return text;
  };
  const fails = async (attempt, code, what) => {
    const error = await attempt.then((received) => ({ received }), (error) => error);
    check(error.code === code, `${what} fails with ${code}`, { code: error.code, message: error.message, ...error });
    return error;
  };

  const tools = await client.tools();
  check(tools.length >= 15 && tools.length <= 40, 'fifteen to forty tools', tools.map((tool) => tool.name));
  for (const tool of tools) {
    const hints = ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint'];
    check(hints.every((hint) => typeof tool.annotations?.[hint] === 'boolean'), 'all four hints are explicit', tool);
    check(tool.outputSchema?.type === 'object', 'the answer has a schema', tool);
  }

  // Reading.
  const { plans } = await ok('list_plans', {});
  const seeded = plans.find((plan) => plan.title === SEEDED);
  check(plans.length >= 8 && seeded, 'the seeded plans', plans);
  const summary = await ok('get_plan', { plan_id: SEEDED });
  check(summary.id === seeded.id && summary.tasks >= 200, 'a plan by its title', summary);
  let [cursor, seen, pages] = [undefined, new Set(), 0];
  do {
    const page = await ok('query_tasks', { plan_id: SEEDED, limit: 70, cursor });
    const id = page.columns.indexOf('id');
    for (const row of page.rows) seen.add(row[id]);
    check(page.complete === !page.cursor, 'complete, or a cursor', page);
    [cursor, pages] = [page.cursor, pages + 1];
    if (!cursor) check(seen.size === page.total, `pages add up to the total (${seen.size} seen)`, { ...page, rows: [] });
  } while (cursor && pages < 100);
  check(pages > 2, 'several pages', { pages });
  const absent = await ok('query_tasks', { plan_id: SEEDED, limit: 1, status: null, bucket: null, cursor: null });
  check(absent.total === seen.size, 'null is the same as nothing', absent);

  // A board of one's own.
  const title = `Story of ${name} ${client.protocol}`;
  const plan = await ok('create_plan', { title, group_id: seeded.group, buckets: ['To do', 'Doing', 'Done'] });
  check(plan.title === title && plan.tasks === 0, 'a new plan', plan);
  const key = `${name}-${client.protocol}-first`;
  const wish = {
    plan_id: title, title: 'Ship it ✓', bucket_id: 'to do', due_date: '2026-12-01', priority: 'urgent',
    description: 'Übermorgen 日本語', checklist: ['first', { title: 'second', checked: true }], idempotency_key: key,
  };
  const made = await ok('create_task', wish);
  check(made.sync === 'synced' && made.planner_id && made.bucket === 'To do', 'a task is created', made);
  const again = await ok('create_task', wish);
  check(again.id === made.id, 'the same key creates nothing twice', again);
  const renamed = await ok('update_task', { task_id: made.id, title: 'Ship it today' });
  await refused('update_task', { task_id: made.id, description: null }, 'null', 'clear');
  check(renamed.title === 'Ship it today' && renamed.sync === 'synced', 'a task is updated', renamed);
  const completed = await ok('update_task', { task_id: made.id, status: 'completed' });
  check(completed.status === 'completed', 'a task is completed', completed);
  const moved = await ok('move_task', { task_id: made.id, bucket_id: 'Done' });
  check(moved.bucket === 'Done', 'a task is moved', moved);
  const full = await ok('get_task', { task_id: made.id, fresh: true });
  check(full.title === 'Ship it today' && full.status === 'completed' && full.bucket === 'Done', 'Planner has it all', full);
  check(full.description === wish.description && full.checklist.length === 2, 'what was not named is unchanged', full);

  // Two hundred at once.
  const told = [];
  const tasks = Array.from({ length: BULK }, (_, place) => ({ title: `Part ${place + 1}`, bucket_id: 'To do' }));
  const bulk = await ok('bulk_create_tasks', { plan_id: title, tasks }, (step) => told.push(step));
  check(bulk.synced === BULK && bulk.ids.length === BULK && bulk.failed === 0, 'two hundred tasks', { ...bulk, ids: [] });
  check(told.length > 0, 'progress is told', told);
  check(told.every((step) => step.total === BULK && step.progress <= BULK), 'of how many', told);
  check(told.every((step, place) => place === 0 || step.progress > told[place - 1].progress), 'and grows', told);
  const counted = await ok('query_tasks', { plan_id: title, limit: 1, fresh: true });
  check(counted.total === BULK + 1, 'Planner has two hundred more', counted);

  // Somebody else works on the same board.
  const set = { task_id: made.planner_id, set: { title: 'Ship it tomorrow' } };
  await post(`${ready.control_url}/colleague/edit`, set);
  await post(`${ready.control_url}/colleague/edit`, { create: { planId: plan.id, title: 'A colleague was here' } });
  const seenNow = await ok('query_tasks', { plan_id: title, text: 'colleague', fresh: true });
  check(seenNow.total === 1, "a colleague's task is seen", seenNow);
  const edited = await ok('get_task', { task_id: made.id, fresh: true });
  check(edited.title === 'Ship it tomorrow' && edited.status === 'completed', "a colleague's edit is seen", edited);

  // Whoever listens is told.
  if (client.listen) {
    const uri = `planner://plans/${plan.id}/tasks/${made.id}`;
    const heard = [];
    const subscription = await client.listen([uri, 'planner://reports/none'], (each) => heard.push(each));
    check(subscription.honoredFilter.resourceSubscriptions?.join() === uri, 'what can change is listened to', subscription.honoredFilter);
    const until = async (count) => {
      for (let tries = 0; heard.length < count && tries < 100; tries += 1) await new Promise((wake) => { setTimeout(wake, 100); });
      check(heard.length >= count && heard.every((each) => each === uri), `${count} times told`, heard);
    };
    await until(1);
    await post(`${ready.control_url}/colleague/edit`, { task_id: made.planner_id, set: { priority: 9 } });
    await ok('get_task', { task_id: made.id, fresh: true });
    await until(2);
    await subscription.close();
    check(await subscription.closed === 'local', 'and then no more', heard);
  }

  const gone = await ok('delete_task', { task_id: made.id });
  check(gone.id === made.id && gone.sync === 'synced', 'a task is deleted', gone);
  await refused('get_task', { task_id: made.id }, made.id, 'query_tasks');

  // Mistakes.
  await refused('query_tasks', { plan_id: 'Nobody knows this' }, 'Nobody knows this', SEEDED, seeded.id);
  await twinBucket(ready, plan.id, 'To do');
  await ok('list_buckets', { plan_id: title, fresh: true });
  await refused('create_task', { plan_id: title, title: 'x', bucket_id: 'To do' }, 'several', 'nothing was changed');
  await refused('query_tasks', { plan_id: SEEDED, limit: 'five' }, 'limit');
  await refused('create_task', { plan_id: title, title: 'x', colour: 'red' }, 'colour', 'title');
  await refused('create_task', { plan_id: title, title: 'x', due_date: '2026-12-01T10:00' }, 'zone');
  await refused('query_tasks', { plan_id: SEEDED, cursor: 'made up' }, 'cursor');
  await fails(client.call('no_such_tool', {}), -32602, 'an unknown tool');

  // What a person attaches to a conversation.
  const resources = await client.resources();
  check(resources.some((resource) => resource.uri === `planner://plans/${seeded.id}`), 'plans are resources', resources);
  const templates = (await client.templates()).map((template) => template.uriTemplate);
  check(templates.includes('planner://plans/{plan_id}/tasks/{task_id}'), 'tasks have a template', templates);
  const contents = await client.read(`planner://plans/${seeded.id}`);
  check(JSON.parse(contents[0].text).title === SEEDED && contents[0].mimeType === 'application/json', 'a plan is read', contents);
  const nowhere = 'planner://plans/none/tasks';
  const code = client.notFound;
  const missing = await fails(client.read(nowhere), code, 'a resource that is none');
  check(missing.data?.uri === nowhere, 'and says which', { data: missing.data });
  const byTitle = await client.complete({ type: 'ref/prompt', name: 'weekly_status' }, 'plan_id', 'websi');
  check(byTitle.values.length === 1 && byTitle.values[0] === seeded.id, 'a plan is completed by its title', byTitle);
  const template = { type: 'ref/resource', uri: 'planner://plans/{plan_id}' };
  const byId = await client.complete(template, 'plan_id', seeded.id.slice(0, 6));
  check(byId.values.includes(seeded.id), 'and by its id', byId);
  const prompts = (await client.prompts()).map((prompt) => prompt.name);
  check(['weekly_status', 'triage_backlog', 'plan_sprint'].every((each) => prompts.includes(each)), 'prompts', prompts);
  const { messages } = await client.prompt('weekly_status', { plan_id: SEEDED });
  check(messages[0].content.text.includes(SEEDED), 'a prompt is filled in', messages);
  await fails(client.prompt('weekly_status', {}), -32602, 'a prompt without its argument');
}
