// Opens pages in headless Chromium, on a desktop and on a phone, in light and in dark, and measures how they look.
//
//   node looks.mjs '[{"name": "listen", "url": "http://127.0.0.1:8080/listen/demo#token=…", "ready": "#channel", "press": "#join"}]'
//   → [{"page": "listen", "look": "phone-dark", "wide": 0, "poor": [], "covers": 1}, …]
//
// `ready`: selector of the element that the page shows when it is complete; `press`: element to press before that,
// after the name is filled in. `wide`: CSS pixels by which the page is too wide. `poor`: visible texts whose contrast
// with what is behind them is below 4.5:1 (WCAG 2.2, 1.4.3, without the exception for large texts; disabled controls
// are exempt). `covers`: number of covers shown. Requests to https://covers.example are answered with an image.
// With the environment variable LOOKS, the script saves a PNG of each page in that folder.

import puppeteer from 'puppeteer-core';

const COVER = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9"><rect width="16" height="9" fill="#175"/><circle cx="8" cy="4" r="3" fill="#fc5"/></svg>`;
const SCREENS = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 740, isMobile: true, hasTouch: true } };
const WAIT_MS = 30_000;

const pages = JSON.parse(process.argv[2]);
const folder = process.env.LOOKS;
const args = ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream'];
const browser = await puppeteer.launch({ executablePath: '/usr/bin/chromium', args });
try {
  const seen = [];
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    for (const scheme of ['light', 'dark']) {
      for (const page of pages) seen.push(await look(page, `${screen}-${scheme}`, viewport, scheme));
    }
  }
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}

async function look({ name, url, ready, press }, look, viewport, scheme) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
  await page.setRequestInterception(true);
  page.on('request', (request) => {
    if (!request.url().startsWith('https://covers.example/')) return request.continue();
    request.respond({ contentType: 'image/svg+xml', body: COVER });
  });
  await page.goto(url);
  if (press) {
    await page.waitForSelector('#name', { visible: true });
    await page.type('#name', 'Ann');
    await page.waitForSelector(`${press}:enabled`, { visible: true });
    await page.click(press);
  }
  await page.waitForSelector(ready, { visible: true });
  const measured = await page.evaluate(measure);
  if (folder) await page.screenshot({ path: `${folder}/${name}-${look}.png`, fullPage: true });
  await context.close();
  return { page: name, look, ...measured };
}

/** Runs in the page. */
async function measure() {
  const covers = [...document.querySelectorAll('.cover')].filter((image) => image.src);
  await Promise.all(covers.map((image) => image.decode().catch(() => undefined)));
  const pixel = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const parsed = new Map();
  /** Returns a computed colour as red, green, blue and alpha, each from 0 to 1. */
  const parse = (colour) => {
    if (!parsed.has(colour)) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = colour;
      pixel.fillRect(0, 0, 1, 1);
      parsed.set(colour, [...pixel.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return parsed.get(colour);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, n) => part * a + below[n] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, two) => {
    const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  /** Returns the colours behind an element: one, or with a gradient behind the whole page, those of the gradient. */
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor, backgroundImage } = getComputedStyle(at);
      const colour = parse(backgroundColor);
      const gradient = at === document.body ? (backgroundImage.match(/(rgba?|hsla?|color|oklab|oklch)\([^()]*\)/g) ?? []) : [];
      layers.push([colour, ...gradient.map(parse)]);
      if (colour[3] === 1) break;
    }
    let colours = [[1, 1, 1]];
    for (const [colour, ...gradient] of layers.reverse()) {
      colours = colours.map((below) => over(colour, below));
      colours.push(...gradient.flatMap((layer) => colours.map((below) => over(layer, below))));
    }
    return colours;
  };
  const contrast = (colour, element) => {
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const [r, g, b, a] = parse(colour);
    return Math.min(...behind(element).map((below) => ratio(over([r, g, b, a * opacity], below), below)));
  };
  const isShown = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return width > 1 && height > 1 && element.checkVisibility({ visibilityProperty: true }) && !element.closest(':disabled');
  };
  const poor = [];
  const check = (element, text, colour) => {
    const found = contrast(colour, element);
    if (found < 4.5) poor.push({ text: text.trim().slice(0, 40), id: element.id || element.className, ratio: Math.round(found * 100) / 100 });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { textContent, parentElement } = walker.currentNode;
    // Emojis have colours of their own.
    if (!/[\p{L}\p{N}]/u.test(textContent) || !isShown(parentElement)) continue;
    check(parentElement, textContent, getComputedStyle(parentElement).color);
  }
  for (const field of document.querySelectorAll('input[placeholder]')) {
    if (isShown(field)) check(field, field.placeholder, getComputedStyle(field, '::placeholder').color);
  }
  const root = document.documentElement;
  const shown = covers.filter((image) => image.checkVisibility() && image.naturalWidth > 0).length;
  return { wide: Math.max(0, root.scrollWidth - root.clientWidth), poor, covers: shown };
}
