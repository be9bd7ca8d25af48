// A person says no: on our page, and on Microsoft's.
// Usage: node sign_in_refused.mjs READY_FILE
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { launch } from './browser.mjs';
import { check, readiness } from './story.mjs';

const { api_url: api } = readiness();
const listener = createServer((_, answer) => { answer.end('You may close this page.'); });
await new Promise((begun) => { listener.listen(0, '127.0.0.1', begun); });
const redirect = `http://127.0.0.1:${listener.address().port}/callback`;
const put = async (url, method, body) => {
  const answer = await fetch(url, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  check(answer.ok, `${method} ${url}`, await answer.clone().text());
  return answer.json();
};
const { client_id: client } = await put(`${api}oauth/register`, 'POST', { client_name: 'A client to refuse', redirect_uris: [redirect] });
const address = new URL(`${api}oauth/authorize`);
address.search = new URLSearchParams({
  response_type: 'code', client_id: client, redirect_uri: redirect, state: 'as it was', resource: `${api}mcp`,
  code_challenge: createHash('sha256').update(randomBytes(32)).digest('base64url'), code_challenge_method: 'S256',
});

const browser = await launch();
try {
  for (const [button, further] of [['Cancel'], ['Sign in with Microsoft', 'Cancel']]) {
    const page = await browser.newPage();
    await page.goto(address.href);
    await page.click(`button:has-text("${button}")`);
    if (further) {
      await page.selectOption('select[name=user]', 'AdeleV@contoso.onmicrosoft.com');
      await page.click('button:has-text("Sign in")');
      await page.waitForSelector('button:has-text("Accept")');
      await page.click(`button:has-text("${further}")`);
    }
    await page.waitForURL(`${redirect}?*`);
    const query = Object.fromEntries(new URL(page.url()).searchParams);
    const told = query.error === 'access_denied' && query.state === 'as it was' && `${query.iss}/` === api && !query.code;
    check(told, `the client is told of ${further ?? button}`, query);
    await page.close();
  }
} finally {
  await browser.close();
  listener.close();
}
console.log('refusals: the client is told when a person says no, on our page and at Microsoft');
