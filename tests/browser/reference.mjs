// Opens the API reference in headless Chromium, on a desktop and on a phone, in light and in dark:
//
//   node reference.mjs http://127.0.0.1:8080/docs [FOLDER]
//
// Prints one line of JSON. For each screen it has: the numbers of operations and of links that the filter
// `createRoom` leaves, the pixels by which the page is too wide, the colour of the page, the target of the
// fragment, requests to other hosts, and errors. The errors include violations of the content security
// policy. Screenshots go to FOLDER.

import puppeteer from 'puppeteer-core';

const [url, folder] = process.argv.slice(2);
const SCREENS = [
  { name: 'desktop-light', width: 1280, height: 900, scheme: 'light' },
  { name: 'desktop-dark', width: 1280, height: 900, scheme: 'dark' },
  { name: 'phone-light', width: 390, height: 844, scheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, scheme: 'dark' },
];

const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  console.log(JSON.stringify(await Promise.all(SCREENS.map(look))));
} finally {
  await browser.close();
}

async function look({ name, width, height, scheme }) {
  const page = await browser.newPage();
  const errors = [];
  const foreign = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('request', (request) => new URL(request.url()).host !== new URL(url).host && foreign.push(request.url()));
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.goto(`${url}#createRoom`);
  await page.waitForSelector('#main:not([aria-busy])');
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
  const contents = await page.$('#contents');
  if (!(await contents.evaluate((details) => details.open))) await page.click('#contents > summary');
  await page.type('#filter', 'createroom');
  const seen = await page.evaluate(() => {
    for (const details of document.querySelectorAll('.operation details')) details.open = true;
    const root = document.documentElement;
    return {
      operations: document.querySelectorAll('.operation').length,
      found: [...document.querySelectorAll('#links li')].filter((item) => item.offsetParent !== null).length,
      tooWide: Math.max(0, root.scrollWidth - root.clientWidth),
      colour: getComputedStyle(document.body).backgroundColor,
      target: document.querySelector(':target')?.id,
    };
  });
  await page.close();
  return { name, ...seen, errors, foreign };
}
