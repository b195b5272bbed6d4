// Finds the JavaScript and Web APIs that at least one of the oldest supported browsers (`web/browsers.json`)
// lacks, from MDN's compatibility data. Without these APIs, a current Chromium offers the pages no more than
// those browsers do. The build transpiles syntax and CSS.
//
//   node minimum.mjs     prints the names, one per line

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** MDN's names of the browsers in `web/browsers.json`. */
const MDN = { chrome: 'chrome', edge: 'edge', firefox: 'firefox', safari: 'safari', ios: 'safari_ios' };

/** Returns names such as `Array.prototype.findLast`, `AbortSignal.timeout` or `ManagedMediaSource`. */
export async function missingInMinimum() {
  const { default: data } = await import('@mdn/browser-compat-data', { with: { type: 'json' } });
  const browsers = JSON.parse(readFileSync(new URL('../../web/browsers.json', import.meta.url), 'utf8'));
  const missing = (feature) =>
    Object.entries(browsers).some(([browser, version]) => !supports(feature.__compat?.support[MDN[browser]], version));
  const names = [];
  for (const [owner, members] of [...Object.entries(data.api), ...Object.entries(data.javascript.builtins)]) {
    // An entry without compatibility data only groups others.
    if (members.__compat && missing(members)) names.push(owner);
    for (const [member, feature] of Object.entries(members)) {
      if (!/^[A-Za-z]\w*$/.test(member) || member.endsWith('_event') || !feature.__compat || !missing(feature)) continue;
      const name = member.replace(/_static$/, '');
      // Built-in objects do not state which of their members are static.
      if (name !== member || owner in data.javascript.builtins) names.push(`${owner}.${name}`);
      if (name === member) names.push(`${owner}.prototype.${name}`);
    }
  }
  return names;
}

/**
 * Returns true if one of these compatibility statements says that the version supports the feature, without a
 * flag and under its standard name.
 */
function supports(statements, version) {
  return [statements ?? []].flat().some(({ flags, prefix, alternative_name, version_added, version_removed }) => {
    if (flags || prefix || alternative_name) return false;
    const [added, removed] = [version_added, version_removed].map((it) => String(it).replace('≤', ''));
    return /^\d/.test(added) && compare(added, version) <= 0 && !(/^\d/.test(removed) && compare(removed, version) <= 0);
  });
}

function compare(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  return left[0] - right[0] || (left[1] ?? 0) - (right[1] ?? 0);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) console.log((await missingInMinimum()).join('\n'));
