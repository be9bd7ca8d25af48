#!/usr/bin/env node
// A person at a browser: opens an address in Chromium, signs in and consents. Clients start it as `BROWSER` with the
// address; it then works on alone, because some clients listen only once their browser has returned.
// PERSON is who signs in, BROWSER_LOG a file with a line for every page.
import { spawn } from 'node:child_process';
import { appendFileSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const PATIENCE = 30_000;

/** Chromium, with nobody signed in. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS });
}

/** Microsoft's pages, as the simulated tenant shows them, until the browser is elsewhere. */
export async function microsoft(page, person, told = () => {}) {
  const asks = async (text) => (await page.locator(`button:has-text("${text}")`).count()) > 0;
  for (const end = Date.now() + PATIENCE; Date.now() < end;) {
    const title = await page.title().catch(() => '');
    if (!page.url().includes('/oauth2/v2.0/authorize')) return;
    told(`Microsoft: ${title}`);
    if (title === 'Sign in') {
      await page.selectOption('select[name=user]', person);
      await page.click('button:has-text("Sign in")');
    } else if (title === 'Permissions requested') {
      await page.click('button:has-text("Accept")');
    } else if (await asks('Approve sign in request')) {
      await page.click('button:has-text("Approve sign in request")');
    } else {
      throw new Error(`an unknown page of Microsoft: ${page.url()} ${await page.content()}`);
    }
    await page.waitForLoadState();
  }
  throw new Error(`the sign-in does not end: ${page.url()}`);
}

/** The address that a client opened: our consent page, Microsoft's, and back to the client. */
export async function visit(page, address, person, told = () => {}) {
  const answer = await page.goto(address);
  if (answer.status() !== 200) throw new Error(`${answer.status()} at ${page.url()}: ${await page.innerText('body')}`);
  told(`consent: ${await page.innerText('h1')}`);
  await page.click('button:has-text("Sign in with Microsoft")');
  await page.waitForLoadState();
  await microsoft(page, person, told);
  await page.waitForLoadState();
  const text = await page.innerText('body').catch(() => '');
  told(`back: ${page.url().split('?')[0]} ${text.replace(/\s+/g, ' ').slice(0, 120)}`);
}

async function alone(address) {
  const browser = await launch();
  try {
    await visit(await browser.newPage(), address, process.env.PERSON, console.log);
  } finally {
    await browser.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const log = process.env.BROWSER_LOG;
  if (process.env.BROWSER_ALONE) {
    await alone(process.argv[2]).catch((error) => console.log(`failed: ${error.stack ?? error}`));
  } else {
    appendFileSync(log, 'opened\n');
    const out = openSync(log, 'a');
    const env = { ...process.env, BROWSER_ALONE: '1' };
    spawn(process.execPath, process.argv.slice(1, 3), { env, detached: true, stdio: ['ignore', out, out] }).unref();
  }
}
