// The list of spaces: live, upcoming, ended.

import { api, attempt, byId, clock, clone, dateTime, followSpaces, keyed, showMe, write } from './app.js';

const { user } = await api('GET', 'me');
showMe(user);
byId('sign-in').hidden = Boolean(user);
byId('new').hidden = !user;

/** Returns the page to open after signing in: only a space of this site. */
const next = () => new URLSearchParams(location.search).get('next')?.match(/^\/spaces\/[\w-]+$/)?.[0] ?? '/';

byId('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = byId('sign-in-name');
  const signIn = () => api('POST', 'sign-in', { name: field.value }).then(() => location.assign(next()));
  void attempt(signIn, ({ message }) => {
    field.setCustomValidity(message);
    field.reportValidity();
  });
});
byId('sign-in-name').addEventListener('input', ({ target }) => target.setCustomValidity(''));

byId('new').addEventListener('click', () => byId('create').showModal());
byId('create-cancel').addEventListener('click', () => byId('create').close());
byId('starts-at').addEventListener('input', ({ target }) => {
  write(byId('create-send'), target.value ? 'Schedule' : 'Go live');
});
byId('create-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [title, description, start] = ['title', 'description', 'starts-at'].map((field) => byId(field).value);
  const create = async () => {
    const startsAt = start ? new Date(start).toISOString() : undefined;
    const { id } = await api('POST', 'spaces', { title, description, startsAt });
    location.assign(`/spaces/${id}`);
  };
  byId('create-send').disabled = true;
  await attempt(create, ({ message }) => write(byId('create-error'), message));
  byId('create-send').disabled = false;
});

function newCard({ id, title, host }) {
  const item = clone('card', host);
  item.querySelector('a').href = `/spaces/${id}`;
  item.querySelector('a').textContent = title;
  return item;
}

const WHEN = {
  live: ({ startedAt }) => `since ${clock(startedAt)}`,
  upcoming: ({ startsAt }) => (startsAt ? dateTime(startsAt) : 'soon'),
  ended: ({ endedAt, recorded }) => `${dateTime(endedAt)}${recorded ? ' · recording' : ''}`,
};

function updateCard(item, space) {
  write(item.querySelector('.clamp'), space.description);
  write(item.querySelector('.when'), WHEN[space.status](space));
}

const lists = Object.keys(WHEN).map((status) => [status, keyed(byId(status), newCard, updateCard)]);
followSpaces((spaces) => {
  for (const [status, show] of lists) show(spaces.filter((space) => space.status === status));
});
