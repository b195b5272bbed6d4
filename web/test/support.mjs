// Parts of the pages as built by Vite, and a server with scripted answers.

import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Returns the exports of `parts.ts`. */
export async function parts() {
  const alias = { '@stentor/client': at('../client/src/index.ts') };
  return (await runnerImport(at('parts.ts'), { logLevel: 'error', resolve: { alias } })).module;
}

/**
 * Scripts the server's answers to these paths: a body, a status with a code, or an error thrown by fetch.
 * Returns the requests.
 */
export function answers(routes) {
  const asked = [];
  globalThis.fetch = async (path, { method = 'GET', body } = {}) => {
    asked.push({ path, method, body: body && JSON.parse(body) });
    const route = routes[path];
    if (route instanceof Error) throw route;
    return route.status ? Response.json({ success: false, error: 'no', code: route.code }, { status: route.status }) : Response.json(route);
  };
  return asked;
}
