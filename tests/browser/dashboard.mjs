// Drives the operators' dashboard of a node with `auth.mode: keys` in headless Chromium:
//
//   node dashboard.mjs OPS API KEY [FOLDER]
//
// OPS and API are the node's addresses. The script creates the room `tea` and waits until the page shows it.
// It tries to drain a mixer, first without a login and then with one, clicks every other action, and opens
// every view on several screens. It prints one line of JSON: the texts that the page showed at each step, the pixels by which the
// page is too wide for each screen and view, and the errors. The errors include violations of the content
// security policy. Screenshots go to FOLDER.

import puppeteer from 'puppeteer-core';

const [ops, api, key, folder] = process.argv.slice(2);
const SCREENS = [
  { name: 'desktop-light', width: 1280, height: 900, scheme: 'light' },
  { name: 'desktop-dark', width: 1280, height: 900, scheme: 'dark' },
  { name: 'phone-light', width: 390, height: 844, scheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, scheme: 'dark' },
];
const VIEWS = ['rooms', 'modules', 'actors', 'charts'];
const TIMEOUT = 30_000;

const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const errors = [];
try {
  const steps = await operate();
  const screens = [];
  for (const screen of SCREENS) screens.push(await look(screen));
  console.log(JSON.stringify({ steps, screens, errors }));
} finally {
  await browser.close();
}

async function open() {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT);
  page.on('pageerror', (error) => errors.push(String(error)));
  // The browser reports a refused action as a network error. Expected are 401 (no login) and 409 (an actor that
  // has just started).
  page.on('console', (message) => message.type() === 'error' && !/ 40[19] /.test(message.text()) && errors.push(message.text()));
  page.on('request', (request) => new URL(request.url()).host !== new URL(ops).host && errors.push(request.url()));
  return page;
}

async function call(method, path, body) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  await fetch(`${api}${path}`, { method, headers, body: JSON.stringify(body) });
}

/** Clicks a button in the row of a view whose text matches `pattern`. */
async function press(page, view, pattern, label) {
  await text(page, `#${view}-rows tr`, pattern);
  await page.evaluate(
    (view, source, label) => {
      const rows = [...document.querySelectorAll(`#${view}-rows tr`)].filter((row) => new RegExp(source, 's').test(row.textContent));
      rows.flatMap((row) => [...row.querySelectorAll('button')]).find((button) => button.textContent === label).click();
    },
    view,
    pattern.source,
    label,
  );
}

/** Opens the details of the row whose first button matches `pattern`, and clicks a button in them. */
async function pressBelow(page, view, pattern, label) {
  await page.waitForFunction(
    (view, source) => [...document.querySelectorAll(`#${view}-rows .opener`)].some((opener) => new RegExp(source).test(opener.title || opener.textContent)),
    {},
    view,
    pattern.source,
  );
  await page.evaluate(
    (view, source, label) => {
      const opener = [...document.querySelectorAll(`#${view}-rows .opener`)].find((opener) => new RegExp(source).test(opener.title || opener.textContent));
      if (opener.getAttribute('aria-expanded') === 'false') opener.click();
      const details = opener.closest('tr').nextElementSibling;
      [...details.querySelectorAll('button')].find((button) => button.textContent === label).click();
    },
    view,
    pattern.source,
    label,
  );
}

/** Confirms the open question, again while the node refuses it, and returns its title. */
async function confirmed(page) {
  await page.waitForSelector('#confirm[open]');
  const title = await page.$eval('#confirm-title', (element) => element.textContent);
  for (let tries = 0; tries < 60; tries += 1) {
    await page.click('#confirm-yes');
    const closed = await page.waitForFunction(() => !document.querySelector('#confirm').open, { timeout: 1000 }).catch(() => null);
    if (closed) return title;
  }
  throw new Error(`refused: ${title}`);
}

/** Waits until the text of an element matches `pattern`, and returns the text. */
async function text(page, selector, pattern) {
  const found = await page.waitForFunction(
    (selector, source) => [...document.querySelectorAll(selector)].map((element) => element.textContent).find((text) => new RegExp(source).test(text)),
    {},
    selector,
    pattern.source,
  );
  return found.jsonValue();
}

async function operate() {
  const page = await open();
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(ops);
  const ready = await text(page, '#pill-text', /^ready$/);
  await text(page, '#rooms-empty', /No rooms yet/);
  await call('POST', '/api/rooms', { roomId: 'tea', title: 'Tea', start: true });
  const room = await text(page, '#rooms-rows tr', /tea.*on air/);
  await page.click('#rooms-rows .opener');
  const event = await text(page, '#rooms-rows .events li', /room started/);

  await page.focus('#tab-rooms');
  await page.keyboard.press('ArrowRight');
  await page.waitForSelector('#modules:not([hidden])');
  await text(page, '#modules-rows tr', /Mixer.*healthy/s);
  await page.evaluate(() => {
    const row = [...document.querySelectorAll('#modules-rows tr')].find((row) => row.textContent.includes('Mixer'));
    [...row.querySelectorAll('button')].find((button) => button.textContent === 'Drain').click();
  });
  const question = await text(page, '#confirm-title', /Drain/);
  await page.click('#confirm-yes');
  await page.waitForSelector('#login-dialog[open]');
  await page.type('#login-key', 'a-wrong-key-0000');
  await page.keyboard.press('Enter');
  const refused = await text(page, '#login-error', /./);
  const label = await page.$eval('#modules-rows tr:last-child td[data-label=Label]', (cell) => cell.textContent);
  await page.type('#login-key', key);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#confirm[open]');
  await page.click('#confirm-yes');
  const drained = await text(page, '#modules-rows tr td[data-label=Label]', /drain/);
  const operator = await text(page, '#operator', /./);
  const confirmations = [];
  const confirm = async () => confirmations.push(await confirmed(page));
  await press(page, 'modules', /^Janus/, 'Cordon');
  await confirm();
  await text(page, '#modules-rows tr', /^Janus.*cordon/);
  await press(page, 'modules', /^Janus/, 'Remove label');
  await confirm();
  await text(page, '#modules-rows tr td[data-label=Label]', /^–$/);

  await page.click('#tab-actors');
  const actor = await text(page, '#actors-rows tr', /room:tea/);
  await pressBelow(page, 'actors', /mixers?\/room:tea$/, 'Restart');
  await confirm();
  await page.click('#tab-rooms');
  await page.click('#reconcile');
  await confirm();
  await pressBelow(page, 'rooms', /tea/, 'Stop the room');
  await confirm();
  await text(page, '#rooms-rows tr', /tea.*off air/);
  await page.click('#tab-actors');
  await page.select('#actors-order', 'restarts');
  await page.waitForFunction(() => document.querySelectorAll('#actors-rows tr:not(.more)').length > 10);
  await page.click('#tab-charts');
  await page.waitForFunction(() => document.querySelectorAll('#charts canvas').length === 6);
  await page.close();
  return { ready, room, event, question, refused, label, drained, operator, actor, confirmations };
}

async function look({ name, width, height, scheme }) {
  const page = await open();
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  const tooWide = {};
  for (const view of VIEWS) {
    await page.goto(`${ops}/#${view}`);
    await page.reload();
    await page.waitForSelector(view === 'charts' ? '#charts canvas' : `#${view}-rows tr`);
    tooWide[view] = await page.evaluate(() => {
      const root = document.documentElement;
      return Math.max(0, root.scrollWidth - root.clientWidth);
    });
    if (folder) await page.screenshot({ path: `${folder}/${view}-${name}.png` });
  }
  await page.close();
  return { name, tooWide };
}
