// Writes the screenshots of docs/operations.md; called by scripts/screenshots.sh:
//
//   node screenshots.mjs OPS KEY FOLDER

import puppeteer from 'puppeteer-core';

const [ops, key, folder] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1200, height: 720 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  await page.goto(`${ops}/#rooms`);
  const opener = '#rooms-rows .opener';
  await page.waitForFunction(() => document.querySelectorAll('#rooms-rows .opener').length >= 5);
  await page.evaluate((opener) => [...document.querySelectorAll(opener)].find((button) => button.textContent === 'tea-room').click(), opener);
  await page.waitForSelector('#rooms-rows .events time');
  await save(page, 'rooms', 720);

  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ action: 'set_label', kind: 'mixer', id: 'node-1', label: 'draining' });
  await fetch(`${ops}/dashboard/actions`, { method: 'POST', headers, body });
  await page.click('#tab-modules');
  await page.waitForFunction(() => document.querySelector('#modules-rows').textContent.includes('draining'));
  await save(page, 'modules', 460);

  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await page.click('#tab-charts');
  await page.waitForSelector('#charts canvas');
  await save(page, 'charts', 720);
} finally {
  await browser.close();
}

async function save(page, name, height) {
  await page.screenshot({ path: `${folder}/dashboard-${name}.webp`, quality: 85, clip: { x: 0, y: 0, width: 1200, height } });
}
