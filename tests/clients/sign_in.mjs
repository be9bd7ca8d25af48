// What every client does once a person has signed in to it, and what it then must have done.
import { setTimeout as sleep } from 'node:timers/promises';
import { readFileSync } from 'node:fs';
import { check } from './story.mjs';

/** Longer than an access token lives in these proofs. */
const WAIT = 7000;

async function day(call) {
  const people = await call('find_people', { search: 'Adele' });
  check(!people.isError && JSON.stringify(people.structuredContent).includes('Adele Vance'), 'find_people finds Adele', people);
  const plans = await call('list_plans', {});
  check(!plans.isError && plans.structuredContent.plans.length > 0, 'list_plans lists plans', plans);
  return plans.structuredContent.plans.length;
}

/** Calls before and after the token ends. `tokens` are those the client has kept, the oldest first. */
export async function twice(name, call, tokens) {
  const plans = await day(call);
  check(`${plans}` === process.env.PLANS, `the plans that ${process.env.PERSON} sees`, plans);
  await sleep(WAIT);
  check(await day(call) === plans, 'as many plans as before', plans);
  const kept = await tokens();
  check(kept.length > 1 && kept.at(-1).access_token !== kept[0].access_token, 'the token was refreshed', kept.length);
  const opened = readFileSync(process.env.BROWSER_LOG, 'utf8').match(/^opened$/gm).length;
  check(opened === 1, 'the person signed in once', opened);
  console.log(`${name}: signed in, ${plans} plans, refreshed, called again`);
}
