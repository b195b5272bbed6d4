// Path prefix of the server, for pages behind a reverse proxy (`http.base_path`).

/** Path prefix of this server, without a slash at its end; empty if the server is at the root of its host. */
export const BASE = typeof document === 'undefined' ? '' : (document.querySelector<HTMLMetaElement>('meta[name=stentor-base]')?.content ?? '');

/** Returns the path without the prefix. A page that is opened without the proxy has no prefix in its path. */
export function withoutBase(path: string, base = BASE): string {
  return base && path.startsWith(`${base}/`) ? path.slice(base.length) : path;
}
