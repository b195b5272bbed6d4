// The API reference: draws the OpenAPI document of this node.

import { BASE } from './base';
import { byId } from './dom';
import {
  exampleOf, fieldsOf, limitsOf, referenceOf, typeOf, type OpenApi, type Operation, type Parameter, type Schema,
} from './reference/document';

const DOCUMENT = `${BASE}/docs/openapi.json`;
/** Deepest level of nested objects that is shown. */
const DEPTH = 4;
const TITLES: Record<string, string> = {
  rooms: 'Rooms',
  users: 'Users',
  listeners: 'Listeners',
  recordings: 'Recordings',
  outputs: 'Outputs',
  events: 'Events',
  webhooks: 'Webhooks',
  keys: 'API keys',
  modules: 'Modules',
  channel: 'Listener channel',
  meta: 'This document',
};
const STATUS_TEXT: Record<string, string> = { apiKey: 'API key', roomToken: 'token of the room' };

interface Entry {
  method: string;
  path: string;
  operation: Operation;
}

type Child = Node | string;

function element(tag: string, attributes: Record<string, string> = {}, ...children: Child[]): HTMLElement {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Returns text with the parts between backticks as code. */
function prose(text: string): Child[] {
  return text.split('`').map((part, i) => (i % 2 === 1 ? element('code', {}, part) : part));
}

/** Returns one paragraph per block of text. */
function paragraphs(text: string | undefined): HTMLElement[] {
  return (text ?? '').split(/\n\n+/).filter((block) => block !== '').map((block) => element('p', {}, ...prose(block)));
}

function badge(method: string): HTMLElement {
  return element('span', { class: 'method', 'data-method': method }, method.toUpperCase());
}

/** Returns a path that may be wrapped after each slash. */
function pathText(path: string): HTMLElement {
  const parts = path.split(/(?<=\/)/).flatMap((part) => [part, element('wbr')]);
  return element('code', { class: 'path' }, ...parts);
}

/** Returns one row of a list of fields: name, type, description and limits, and the fields inside. */
function field(api: OpenApi, name: string, schema: Schema, note: string, text: string | undefined, depth: number): HTMLElement {
  const row = element('li', {},
    element('code', { class: 'name' }, name), ' ',
    element('span', { class: 'muted' }, `${typeOf(api, schema)}${note}`),
    ...paragraphs(text),
  );
  const limits = limitsOf(api, schema);
  if (limits.length > 0) row.append(element('p', { class: 'hint' }, ...prose(limits.join('; '))));
  const inner = schema.items ?? schema;
  if (depth < DEPTH && fieldsOf(api, inner).properties.length > 0) {
    row.append(element('details', {}, element('summary', {}, referenceOf(schema) ?? 'Fields'), fields(api, inner, depth + 1)));
  }
  return row;
}

function fields(api: OpenApi, schema: Schema, depth = 0): HTMLElement {
  const { properties, required } = fieldsOf(api, schema);
  const rows = properties.map(([name, value]) => {
    const target = referenceOf(value);
    const text = value.description ?? (target && api.components.schemas[target]?.description);
    return field(api, name, value, required.has(name) ? ', required' : '', text, depth);
  });
  return element('ul', { class: 'fields' }, ...rows);
}

function parameters(api: OpenApi, all: Parameter[]): HTMLElement[] {
  if (all.length === 0) return [];
  const rows = all.map((parameter) => {
    const note = `, in the ${parameter.in}${parameter.required === true ? ', required' : ''}`;
    return field(api, parameter.name, parameter.schema ?? {}, note, parameter.description, 0);
  });
  return [element('h4', {}, 'Parameters'), element('ul', { class: 'fields' }, ...rows)];
}

function body(api: OpenApi, { requestBody }: Operation): HTMLElement[] {
  const [content] = Object.entries(requestBody?.content ?? {});
  if (content === undefined) return [];
  const [type, { schema = {} }] = content;
  const note = [type, requestBody?.description].filter((text) => text).join(', ');
  const heading = element('h4', {}, 'Body ', element('span', { class: 'muted' }, note));
  const name = referenceOf(schema);
  return [heading, ...paragraphs(name && api.components.schemas[name]?.description), fields(api, schema)];
}

function answers(api: OpenApi, { responses }: Operation): HTMLElement[] {
  const rows = Object.entries(responses).map(([status, answer]) => {
    const row = element('li', {}, element('code', { class: 'status-code', 'data-class': status.slice(0, 1) }, status), ' ');
    if (!status.startsWith('2')) {
      // The description of an error lists its codes.
      const parts = answer.description.split(/\b([a-z]+(?:_[a-z0-9]+)+|busy|unauthorized|internal)\b/);
      row.append(...parts.map((part, i) => (i % 2 === 1 ? element('code', {}, part) : part)));
      return row;
    }
    row.append(...prose(answer.description));
    for (const [type, { schema = {} }] of Object.entries(answer.content ?? {})) {
      row.append(' ', element('span', { class: 'muted' }, type));
      if (fieldsOf(api, schema).properties.length > 0) {
        row.append(element('details', {}, element('summary', {}, referenceOf(schema) ?? 'Fields'), fields(api, schema)));
      }
    }
    return row;
  });
  return [element('h4', {}, 'Answers'), element('ul', { class: 'fields' }, ...rows)];
}

/** Returns the command that sends the request with curl. */
function curl(api: OpenApi, { method, path, operation }: Entry): HTMLElement {
  const isChannel = path.startsWith('/hls/');
  const address = isChannel ? 'http://127.0.0.1:8080' : 'http://127.0.0.1:3000';
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => (/^(id|room)$/.test(name) ? 'tea-room' : name.toUpperCase()));
  const lines = [`curl -X ${method.toUpperCase()} ${address}${filled}`];
  lines.push(`  -H "Authorization: Bearer ${isChannel ? '$TOKEN' : '$KEY'}"`);
  const schema = operation.requestBody?.content['application/json']?.schema;
  if (schema !== undefined) {
    lines.push(`  -H 'content-type: application/json' -d '${JSON.stringify(exampleOf(api, schema))}'`);
  }
  return element('pre', { tabindex: '0' }, element('code', {}, lines.join(' \\\n')));
}

function section(api: OpenApi, entry: Entry): HTMLElement {
  const { method, path, operation } = entry;
  const id = operation.operationId;
  const schemes = (operation.security ?? []).flatMap((one) => Object.entries(one)).map(([name, scopes]) => {
    const needed = STATUS_TEXT[name] ?? name;
    return scopes.length > 0 ? `${needed} with the scope ${scopes.join(', ')}` : needed;
  });
  return element('article', { class: 'panel operation', id, 'aria-labelledby': `${id}-title` },
    element('h3', { id: `${id}-title` }, element('a', { href: `#${id}` }, ...prose((operation.summary ?? id).replace(/\.$/, '')))),
    element('p', { class: 'request' }, badge(method), ' ', pathText(path)),
    ...paragraphs(operation.description),
    ...(schemes.length > 0 ? [element('p', { class: 'hint' }, `Needs: ${schemes.join(' or ')}. Operation id: ${id}.`)] : []),
    ...parameters(api, operation.parameters ?? []),
    ...body(api, operation),
    ...answers(api, operation),
    element('h4', {}, 'Example'),
    curl(api, entry),
  );
}

/** Returns the operations by tag, in the order of the titles; other tags follow. */
function groups(api: OpenApi): [string, Entry[]][] {
  const found = new Map<string, Entry[]>(Object.keys(TITLES).map((tag) => [tag, []]));
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? 'meta';
      found.set(tag, [...(found.get(tag) ?? []), { method, path, operation }]);
    }
  }
  return [...found].filter(([, entries]) => entries.length > 0);
}

function draw(api: OpenApi): void {
  const { title, version, description } = api.info;
  byId('main').append(
    element('section', { class: 'intro' },
      element('h1', {}, title),
      element('p', { class: 'hint' }, `Version ${version}`),
      ...paragraphs(description),
      ...paragraphs('Every error is `{success: false, error, code, details?, requestId}`. `code` is stable; `error` is for ' +
        'people and may change. With `Retry-After` the same request may succeed later. New fields, codes and event ' +
        'types may be added: ignore those that you do not know.'),
    ),
  );
  for (const [tag, entries] of groups(api)) {
    const name = TITLES[tag] ?? tag;
    byId('main').append(element('section', {}, element('h2', {}, name), ...entries.map((entry) => section(api, entry))));
    const links = entries.map(({ method, path, operation }) =>
      element('li', { 'data-text': `${operation.operationId} ${method} ${path} ${operation.summary ?? ''}`.toLowerCase() },
        element('a', { href: `#${operation.operationId}`, title: `${method.toUpperCase()} ${path}` },
          badge(method), element('span', {}, operation.operationId))));
    byId('links').append(element('section', {}, element('h2', {}, name), element('ul', {}, ...links)));
  }
}

/** Hides the links that do not contain every word, and groups without a link. */
function filter(text: string): void {
  const words = text.toLowerCase().split(/\s+/);
  for (const group of byId('links').querySelectorAll('section')) {
    const items = [...group.querySelectorAll<HTMLElement>('li')];
    for (const item of items) item.hidden = !words.every((word) => item.dataset.text!.includes(word));
    group.hidden = items.every((item) => item.hidden);
  }
}

/** Opens the table of contents if it has a column of its own, and otherwise closes it. */
function arrange(wide: MediaQueryList | MediaQueryListEvent): void {
  byId<HTMLDetailsElement>('contents').open = wide.matches;
}

async function start(): Promise<void> {
  try {
    const answer = await fetch(DOCUMENT);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    draw((await answer.json()) as OpenApi);
    // When the browser looked for the fragment's target, the page was not drawn yet.
    if (location.hash !== '') location.replace(location.hash);
  } catch (error) {
    byId('problem').textContent = `The OpenAPI document cannot be loaded (${String(error)}). Reload the page.`;
    byId('problem').hidden = false;
  }
  byId('main').removeAttribute('aria-busy');
}

const wide = window.matchMedia('(min-width: 60rem)');
wide.addEventListener('change', arrange);
arrange(wide);
byId<HTMLInputElement>('filter').addEventListener('input', (event) => filter((event.target as HTMLInputElement).value));
byId('links').addEventListener('click', (event) => {
  if (!wide.matches && (event.target as Element).closest('a')) byId<HTMLDetailsElement>('contents').open = false;
});
void start();
byId('not-started').remove();
