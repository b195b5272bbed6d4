// The start page: takes a listener link or a room id and opens that room's page.

const ROOM_ID = /^[A-Za-z0-9_-]{3,32}$/;

/** Path (with the token's fragment, if there is one) of the page to open; null if the text names no room. */
function target(text: string): string | null {
  if (ROOM_ID.test(text)) return `/listen/${text}`;
  try {
    const link = new URL(text, location.origin);
    const room = /^\/listen\/([^/]+)$/.exec(link.pathname)?.[1] ?? '';
    return ROOM_ID.test(room) ? `/listen/${room}${link.hash}` : null;
  } catch {
    return null;
  }
}

const form = document.querySelector<HTMLFormElement>('#open')!;
const input = document.querySelector<HTMLInputElement>('#room')!;
const hint = document.querySelector<HTMLElement>('#hint')!;

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const path = target(input.value.trim());
  if (path) {
    location.assign(path);
    return;
  }
  hint.textContent = 'That is neither a listener link nor a room id (3 to 32 letters, digits, _ or -).';
  input.setAttribute('aria-invalid', 'true');
  input.focus();
});
