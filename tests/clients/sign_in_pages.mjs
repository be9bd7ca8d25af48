// The pages of a sign-in in Chromium: narrow and wide, light and dark, held against axe-core, and used by keyboard.
// Usage: node sign_in_pages.mjs READY_FILE PICTURES_FOLDER. PERSON has connected clients by then.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { launch, microsoft } from './browser.mjs';
import { check, readiness } from './story.mjs';

const { api_url: api } = readiness();
const pictures = process.argv[3];
const person = process.env.PERSON;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(pictures, { recursive: true });

const registered = await fetch(`${api}oauth/register`, {
  method: 'POST', headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ client_name: 'A client for pictures', redirect_uris: ['http://127.0.0.1:9/callback'] }),
});
const consent = new URL(`${api}oauth/authorize`);
consent.search = new URLSearchParams({
  response_type: 'code', client_id: (await registered.json()).client_id, redirect_uri: 'http://127.0.0.1:9/callback',
  code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', resource: `${api}mcp`,
});
const accounts = `${api}pages/accounts`;

/** Goes through the page by Tab and answers what is met, which has to be shown as focused. */
async function stops(page) {
  const met = [];
  for (;;) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const { activeElement: at } = document;
      if (at === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(at);
      const name = at.tagName === 'INPUT' ? at.name : at.getAttribute('aria-label') ?? at.innerText;
      return { name: `${at.tagName.toLowerCase()} ${name}`, seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
    });
    if (!stop || met.some(({ name }) => name === stop.name)) return met.map(({ name }) => name);
    check(stop.seen, 'the focus is seen', stop);
    met.push(stop);
  }
}

let looked = 0;
const wrong = [];
async function look(page, name) {
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  const { violations } = await page.evaluate(`${axe}; axe.run({ resultTypes: ['violations'] })`);
  const found = violations.map(({ id, impact, nodes }) => [id, impact, nodes.length, nodes[0].html.slice(0, 200)]);
  if (found.length > 0) wrong.push(`${name}: ${JSON.stringify(found)}`);
  const [wide, has] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > has) wrong.push(`${name}: ${wide} pixels on a screen of ${has}`);
  looked += 1;
}

const browser = await launch();
try {
  // Signed in once; the other contexts take the cookie.
  const first = await browser.newContext();
  const page = await first.newPage();
  await page.goto(accounts);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForURL(/authorize/);
  await microsoft(page, person);
  await page.waitForURL(accounts);
  check((await page.innerText('main')).includes(person), 'the page says who is signed in', await page.innerText('main'));
  const storageState = await first.storageState();

  for (const colorScheme of ['light', 'dark']) {
    for (const width of [360, 800, 1280]) {
      const options = { colorScheme, viewport: { width, height: 900 } };
      const at = `${width}-${colorScheme}`;
      const context = await browser.newContext(options);
      const visitor = await context.newPage();
      await visitor.goto(consent.href);
      await look(visitor, `consent-${at}`);
      await visitor.click('button:has-text("Sign in with Microsoft")');
      await visitor.waitForURL(/authorize\?/);
      await look(visitor, `microsoft-${at}`);
      await visitor.goto(accounts);
      await look(visitor, `sign-in-${at}`);
      await visitor.goto(`${api}oauth/authorize`);
      await look(visitor, `refused-${at}`);
      await context.close();
      const own = await browser.newContext({ ...options, storageState });
      const member = await own.newPage();
      await member.goto(accounts);
      await member.click('summary');
      await look(member, `accounts-${at}`);
      for (const name of ['sync', 'reports']) {
        await member.goto(`${api}pages/${name}`);
        await look(member, `${name}-${at}`);
      }
      await own.close();
    }
  }

  // By keyboard alone.
  await page.goto(consent.href);
  const met = await stops(page);
  const boxes = met.filter((name) => name.startsWith('input'));
  check(boxes.includes('input planner.write') && met.at(-2) === 'button Sign in with Microsoft' && met.at(-1) === 'button Cancel', 'everything is met in order', met);
  const box = page.locator('input[name="planner.write"]');
  await box.focus();
  await page.keyboard.press('Space');
  check(!(await box.isChecked()), 'a box is emptied by keyboard', met);
  // A key is made, shown this once, and ended.
  await page.goto(accounts);
  await page.locator('summary').focus();
  await page.keyboard.press('Enter');
  await page.fill('#key-name', 'Nightly');
  await page.locator('input[name="use.planner"]').focus();
  await page.keyboard.press('Space');
  await page.locator('button:has-text("Make the key")').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('h1:has-text("Your key")');
  const key = await page.innerText('.secret');
  await look(page, 'key');
  const plans = () => fetch(`${api}api/tools/list_plans`, {
    method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': key }, body: '{}',
  });
  check((await plans()).status === 200, 'the key opens what it was made for', key.slice(0, 12));
  await page.goto(accounts);
  check(!(await page.content()).includes(key), 'the key is not shown again', key.slice(0, 12));
  await page.click('button[aria-label="Revoke Nightly"]');
  await page.waitForFunction(() => !document.body.innerText.includes('Nightly'));
  check((await plans()).status === 401, 'a revoked key opens nothing', key.slice(0, 12));
  await page.goto(accounts);
  const before = await page.locator('section.card').count();
  check(before >= 2, 'the clients of the person are listed', await page.innerText('main'));
  const listed = await stops(page);
  check(listed.includes('button Disconnect TypeScript SDK v1') && listed.includes('button Sign out of this page'), 'every client can be reached', listed);
  await page.locator('button[aria-label="Disconnect TypeScript SDK v1"]').focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction((count) => document.querySelectorAll('section.card').length === count, before - 1);
  await page.locator('button:has-text("Sign out of this page")').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('h1:has-text("Sign in")');
} finally {
  await browser.close();
}
if (wrong.length > 0) throw new Error(`what is wrong with the pages:\n${wrong.join('\n')}`);
console.log(`pages: ${looked} pictures without a violation, and all of it works by keyboard`);
