// Code shared by both pages: requests, elements, lists, times.

/** Sends a request to the application server. Throws an `Error` with a message for the person. */
export async function api(method, path, body) {
  const json = body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`/api/${path}`, { method, ...json }).catch(() => null);
  if (!response) throw new Error('The server cannot be reached. Check your connection.');
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

/** Calls `show` with the list of spaces now and after each change; the browser connects again by itself. */
export function followSpaces(show) {
  new EventSource('/api/spaces').addEventListener('message', ({ data }) => show(JSON.parse(data)));
}

export const byId = (id) => document.getElementById(id);

/** Sets the text if it differs, because screen readers read out a live region at each write. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Returns a copy of a template's element, with a name and its picture. Text from people is never inserted as
 * HTML.
 */
export function clone(template, name) {
  const item = byId(`${template}-template`).content.firstElementChild.cloneNode(true);
  if (name === undefined) return item;
  item.querySelector('.name').textContent = name;
  draw(item.querySelector('.avatar'), name);
  return item;
}

/** Draws the picture of a person: the initials, in a colour that depends on the name. */
function draw(picture, name) {
  const words = name.split(/\s+/).slice(0, 2);
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  picture.textContent = words
    .map((word) => [...word][0] ?? '')
    .join('')
    .toUpperCase();
  picture.style.setProperty('--hue', hue);
}

/**
 * Returns a function that shows items in a list. Each item has an `id`. An item that stays keeps its element,
 * and so the focus in it. `create` makes the element of a new item; `update` is called for every item.
 */
export function keyed(list, create, update = () => undefined) {
  const elements = new Map();
  return (items) => {
    const ids = new Set(items.map(({ id }) => id));
    for (const [id, element] of elements) {
      if (ids.has(id)) continue;
      element.remove();
      elements.delete(id);
    }
    items.forEach((item, at) => {
      if (!elements.has(item.id)) elements.set(item.id, create(item));
      const element = elements.get(item.id);
      if (list.children[at] !== element) list.insertBefore(element, list.children[at] ?? null);
      update(element, item);
    });
  };
}

let timer;
/** Shows a message for a few seconds. */
export function toast(text) {
  const box = byId('toast');
  box.textContent = text;
  box.classList.add('shown');
  clearTimeout(timer);
  timer = setTimeout(() => box.classList.remove('shown'), 6000);
}

/** Runs an action and shows the reason if it fails. Returns true if it succeeded. */
export async function attempt(action, show = ({ message }) => toast(message)) {
  try {
    await action();
    return true;
  } catch (error) {
    show(error);
    return false;
  }
}

const format = (options) => {
  const { format } = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', ...options });
  return format;
};
export const clock = format({});
export const dateTime = format({ weekday: 'short', month: 'short', day: 'numeric' });

/** Shows the user in the bar, with a button to sign out. */
export function showMe(user) {
  if (!user) return;
  const item = clone('me', user.name);
  const signOut = () => api('POST', 'sign-out').then(() => location.assign('/'));
  item.querySelector('button').addEventListener('click', () => attempt(signOut));
  byId('me').replaceChildren(item);
}
