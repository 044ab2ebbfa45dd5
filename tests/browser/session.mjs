// A person with Chromium: login page → page → expiry and silent renewal → attacks from other
// origins → logout → back button. Prints one line for each thing that was shown; exit code 1 when
// one was not. Environment: CHROMIUM, GATEWAY_PORT, APP_PORT, CERTIFICATE and KEY (PEM files),
// PASSWORD, SHOTS (a directory for screenshots).
import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createRequire } from 'node:module';
import puppeteer from 'puppeteer-core';
import { WebSocketServer } from 'ws';

const env = process.env;
const SITE = 'https://api.test';
const PAGE = `${SITE}/local/page`;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const certificate = readFileSync(env.CERTIFICATE);

// The service behind: it knows nothing of cookies.
const seen = [];
const app = createServer((request, response) => {
  seen.push(request);
  request.resume();
  if (request.url.startsWith('/local/page') || request.url.startsWith('/public/bye')) {
    response.setHeader('Content-Type', 'text/html');
    const who = request.headers['x-auth-subject'] ?? 'nobody';
    return response.end(`<!DOCTYPE html><html lang="en"><title>Page</title><p id="who">hello ${who}</p>`);
  }
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ method: request.method, cookie: request.headers.cookie ?? null }));
}).listen(Number(env.APP_PORT), '127.0.0.1');
new WebSocketServer({ server: app }).on('connection', (socket, request) => {
  seen.push(request);
  socket.send('open');
});

// The attacker's pages, on a sibling of the site (same-site!) and on another site altogether.
const attack = (what) => ({
  form: `<form method="post" action="${SITE}/local/do"><input name="a" value="b"></form><script>document.forms[0].submit()</script>`,
  text: `<form method="post" enctype="text/plain" action="${SITE}/local/do"><input name='{"a":"' value='"}'></form><script>document.forms[0].submit()</script>`,
  login: `<form method="post" action="${SITE}/_postern/login"><input name="username" value="mallory"><input name="password" value="${env.PASSWORD}"></form><script>document.forms[0].submit()</script>`,
  logout: `<form method="post" action="${SITE}/_postern/logout"></form><script>document.forms[0].submit()</script>`,
  frame: `<iframe src="${SITE}/_postern/login"></iframe>`,
  idle: 'nothing',
})[what];
const evil = createTlsServer({ cert: certificate, key: readFileSync(env.KEY) }, (request, response) => {
  response.setHeader('Content-Type', 'text/html');
  response.end(`<!DOCTYPE html><body>${attack(request.url.slice(1)) ?? ''}`);
});
await new Promise((resolve) => evil.listen(0, '127.0.0.1', resolve));

const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
const pin = createHash('sha256').update(key).digest('base64');
const browser = await puppeteer.launch({
  executablePath: env.CHROMIUM,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    `--ignore-certificate-errors-spki-list=${pin}`,
    `--host-resolver-rules=MAP api.test 127.0.0.1:${env.GATEWAY_PORT}, MAP *.api.test 127.0.0.1:${evil.address().port}, MAP evil.test 127.0.0.1:${evil.address().port}`,
  ],
});

let failed = 0;
async function shown(what, check) {
  try {
    await check();
    console.log(`ok      ${what}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${what}\n${error.stack}`);
  }
}

const text = (page, selector = 'body') => page.$eval(selector, (node) => node.innerText);
const session = async (context) => (await context.cookies()).find((c) => c.name === '__Host-postern');

async function fill(page, password = env.PASSWORD) {
  await page.$eval('#username', (input) => { input.value = ''; });
  await page.type('#username', 'alice');
  await page.type('#password', password);
  await Promise.all([page.waitForNavigation(), page.click('button')]);
}

// Violations of WCAG 2.2 A and AA, contrast included; in a world that the page's policy cannot stop.
async function accessible(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const found = result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`);
  assert.deepEqual(found, []);
  assert.ok(result.passes.some((rule) => rule.id === 'color-contrast'), 'contrast was measured');
}

async function pictures(page, name) {
  for (const scheme of ['light', 'dark']) {
    for (const [size, width] of [['narrow', 320], ['wide', 1280]]) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.setViewport({ width, height: 720 });
      await page.screenshot({ path: `${env.SHOTS}/${name}-${scheme}-${size}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.ok(!wide, 'nothing is cut off');
      await accessible(page);
    }
  }
}

const page = await browser.newPage();
const complaints = [];
page.on('console', (message) => complaints.push(message.text()));

await shown('a page without a session leads to the login page', async () => {
  await page.goto(`${PAGE}?x=1`);
  assert.equal(new URL(page.url()).pathname, '/_postern/login');
  assert.equal(await text(page, 'h1'), 'Sign in');
  assert.deepEqual(seen, [], 'the service saw nothing');
});
await shown('the login page is accessible: light, dark, narrow, wide', () => pictures(page, 'login'));
await shown('its policy lets no script of a page run', async () => {
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    document.body.append(script);
  });
  assert.equal(await page.evaluate(() => window.ran), undefined);
});
await shown('a wrong password is told, and read out', async () => {
  await page.goto(PAGE);
  complaints.length = 0;
  await fill(page, 'wrong');
  assert.equal(await text(page, '[role=alert]'), 'The username or the password is not correct.');
  assert.equal(await page.$eval('#username', (input) => input.value), 'alice');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'password');
  const tree = await page.accessibility.snapshot();
  assert.ok(JSON.stringify(tree).includes('"Password"'), JSON.stringify(tree));
  assert.ok(complaints.every((line) => line.includes('401')), complaints.join());
});
await shown('the page with the message is accessible', () => pictures(page, 'refused'));
await shown('keyboard alone: two fields and Enter', async () => {
  await page.goto(`${PAGE}?x=1`);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'username');
  await page.keyboard.type('alice');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'password');
  await page.keyboard.type(env.PASSWORD);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'BUTTON');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  assert.equal(page.url(), `${PAGE}?x=1`, 'back to where it was asked for');
  assert.equal(await text(page, '#who'), 'hello alice');
});

const context = page.browserContext();
let cookie;
await shown('one cookie that no script sees', async () => {
  cookie = await session(context);
  assert.ok(cookie.httpOnly && cookie.secure && cookie.session, JSON.stringify(cookie));
  assert.deepEqual([cookie.sameSite, cookie.path, cookie.domain], ['Lax', '/', 'api.test']);
  assert.equal(await page.evaluate(() => document.cookie), '');
});
const post = (token) => page.evaluate(async (token) => {
  const headers = token ? { 'X-CSRF-Token': token } : {};
  const answer = await fetch('/local/do', { method: 'POST', headers });
  return [answer.status, await answer.json()];
}, token);
const csrf = () => page.evaluate(async () => (await (await fetch('/_postern/csrf')).json()).csrf_token);
await shown('an own page changes things with the token, and not without', async () => {
  assert.equal((await post())[0], 403);
  const [status, answer] = await post(await csrf());
  assert.equal(status, 200);
  assert.deepEqual(answer, { method: 'POST', cookie: null }, 'the service sees no cookie');
});
const open = (page) => page.evaluate(() => new Promise((resolve) => {
  const socket = new WebSocket('wss://api.test/local/ws');
  socket.onmessage = (event) => resolve(event.data);
  socket.onerror = () => resolve('refused');
}));
await shown('an own page opens a WebSocket', async () => assert.equal(await open(page), 'open'));
await shown('after the access token has expired: nothing is noticed', async () => {
  const token = await csrf();
  await new Promise((resolve) => setTimeout(resolve, 7000));
  assert.equal((await post(token))[0], 200, 'the CSRF token is as good as the session');
  await page.reload();
  assert.equal(await text(page, '#who'), 'hello alice');
  assert.equal((await session(context)).value, cookie.value, 'one id from login to logout');
});

for (const host of ['evil.api.test', 'evil.test']) {
  await shown(`attacks from https://${host}`, async () => {
    const attacker = await context.newPage();
    seen.length = 0;
    for (const [what, status] of [['form', 403], ['text', 403], ['login', 403]]) {
      await attacker.goto(`https://${host}/idle`);
      const answer = attacker.waitForResponse((a) => a.url().startsWith(SITE));
      await attacker.goto(`https://${host}/${what}`).catch(() => {});
      const got = (await answer).status();
      // A sibling's POST brings the Lax cookie; another site's does not even do that.
      const wanted = host === 'evil.test' && what !== 'login' ? 401 : status;
      assert.equal(got, wanted, what);
    }
    await attacker.goto(`https://${host}/idle`);
    assert.equal(await open(attacker), 'refused');
    const read = await attacker.evaluate(async () => {
      try {
        const answer = await fetch('https://api.test/_postern/csrf', { credentials: 'include' });
        return await answer.text();
      } catch { return 'unreadable'; }
    });
    assert.equal(read, 'unreadable');
    await attacker.evaluate(() => fetch('https://api.test/local/do', {
      method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"a":1}',
    }));
    const answer = attacker.waitForResponse((a) => a.url() === `${SITE}/_postern/logout`);
    await attacker.goto(`https://${host}/logout`).catch(() => {});
    assert.ok([401, 403].includes((await answer).status()));
    await attacker.goto(`https://${host}/frame`);
    const frame = attacker.frames().find((frame) => frame !== attacker.mainFrame());
    assert.ok(!(await frame.evaluate(() => document.body.innerHTML)).includes('password'));
    assert.deepEqual(seen.map((request) => request.method), [], 'the service saw nothing of it');
    await attacker.close();
    await page.reload();
    assert.equal(await text(page, '#who'), 'hello alice', 'still logged in, as herself');
    assert.equal((await session(context)).value, cookie.value);
  });
}

await shown('a second login in the same browser has a new id', async () => {
  const before = await session(context);
  await page.goto(`${SITE}/_postern/login?return_to=/local/page`);
  await fill(page);
  assert.equal(page.url(), PAGE);
  assert.notEqual((await session(context)).value, before.value);
});
await shown('after the logout the back button shows nothing', async () => {
  await page.goto(`${PAGE}?secret`);
  assert.equal(await text(page, '#who'), 'hello alice');
  const token = await csrf();
  const status = await page.evaluate(async (token) => {
    const headers = { 'X-CSRF-Token': token };
    return (await fetch('/_postern/logout', { method: 'POST', headers })).status;
  }, token);
  assert.equal(status, 204);
  assert.equal(await session(context), undefined);
  await page.goto(`${SITE}/public/bye`);
  await page.goBack();
  assert.equal(new URL(page.url()).pathname, '/_postern/login');
  assert.ok(!(await text(page)).includes('alice'));
});
await shown('without JavaScript: login, page, logged out elsewhere, login again', async () => {
  const other = await browser.createBrowserContext();
  const plain = await other.newPage();
  await plain.setJavaScriptEnabled(false);
  await plain.goto(PAGE);
  await plain.type('#username', 'alice');
  await plain.type('#password', env.PASSWORD);
  await Promise.all([plain.waitForNavigation(), plain.keyboard.press('Enter')]);
  assert.equal(plain.url(), PAGE);
  assert.ok((await plain.content()).includes('hello alice'));
  await other.close();
});

await browser.close();
evil.close();
app.close();
app.closeAllConnections();
console.log(failed === 0 ? 'all was shown' : `${failed} FAILED`);
process.exit(failed === 0 ? 0 : 1);
