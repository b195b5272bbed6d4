// Oldest browsers that the pages support; `vite.config.ts` builds for them.

import browsers from '../browsers.json' with { type: 'json' };

const { chrome, edge, firefox, safari, ios } = browsers;
const chromium = chrome === edge ? `Chrome or Edge ${chrome}` : `Chrome ${chrome}, Edge ${edge}`;
const apple = safari === ios ? `Safari ${safari} (also on iPhone and iPad)` : `Safari ${safari}, iOS ${ios}`;

/** Text for people: the required browser. */
export const NEEDED = `${chromium}, Firefox ${firefox}, ${apple}, or a newer version`;
