// Operator login, and actions with confirmation.

import { BASE } from '../base';
import { byId, toast, write } from '../dom';

export type Action =
  | { action: 'set_label'; kind: string; id: string; label: string }
  | { action: 'clear_label'; kind: string; id: string }
  | { action: 'stop_room'; room: string }
  | { action: 'restart_actor'; path: string }
  | { action: 'reconcile' };

interface Question {
  title: string;
  text: string;
  /** Text of the button that confirms. */
  yes: string;
  done: string;
  danger?: boolean;
}

interface Answer {
  status: number;
  error?: string;
}

const confirm = byId<HTMLDialogElement>('confirm');
const dialog = byId<HTMLDialogElement>('login-dialog');
const key = byId<HTMLInputElement>('login-key');
/** Function to call after a login. */
let pending: (() => void) | null = null;

async function post(path: string, body: object): Promise<Answer> {
  try {
    const answer = await fetch(BASE + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const { error } = (await answer.json()) as { error?: string };
    return { status: answer.status, ...(error ? { error } : {}) };
  } catch {
    return { status: 0, error: 'The node does not answer.' };
  }
}

/** Carries out an action after the user has confirmed it; asks for a login if the node requires one. */
export function act(action: Action, { title, text, yes, done, danger = false }: Question): void {
  write(byId('confirm-title'), title);
  write(byId('confirm-text'), text);
  write(byId('confirm-error'), '');
  const button = byId<HTMLButtonElement>('confirm-yes');
  write(button, yes);
  button.className = `button ${danger ? 'danger' : 'primary'}`;
  button.disabled = false;
  button.onclick = async () => {
    button.disabled = true;
    const { status, error } = await post('/dashboard/actions', action);
    button.disabled = false;
    if (status === 401) {
      confirm.close();
      login(() => act(action, { title, text, yes, done, danger }));
    } else if (error) {
      write(byId('confirm-error'), error);
    } else {
      confirm.close();
      toast(done);
    }
  };
  confirm.showModal();
}

/** Opens the login form. Calls `then` after a successful login. */
function login(then: (() => void) | null): void {
  pending = then;
  key.value = '';
  write(byId('login-error'), '');
  dialog.showModal();
  key.focus();
}

/** Shows who is logged in. */
async function showSession(): Promise<void> {
  try {
    const answer = await fetch(`${BASE}/dashboard/session`);
    const { operator, session } = (await answer.json()) as { operator: { name: string } | null; session: boolean };
    const isOpen = operator !== null && !session;
    byId('login').hidden = operator !== null;
    byId('logout').hidden = operator === null || !session;
    const pill = byId('operator');
    pill.hidden = operator === null || isOpen;
    write(pill, operator?.name ?? '');
  } catch {
    // Show no message: the page already shows that the stream has no updates.
  }
}

export function startOperator(): void {
  byId('confirm-no').addEventListener('click', () => confirm.close());
  byId('login').addEventListener('click', () => login(null));
  byId('login-cancel').addEventListener('click', () => dialog.close());
  byId('logout').addEventListener('click', async () => {
    await post('/dashboard/logout', {});
    await showSession();
  });
  byId('login-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const { error } = await post('/dashboard/login', { key: key.value });
    key.value = '';
    if (error) {
      write(byId('login-error'), error);
      return;
    }
    dialog.close();
    await showSession();
    pending?.();
    pending = null;
  });
  byId('reconcile').addEventListener('click', () =>
    act(
      { action: 'reconcile' },
      {
        title: 'Reconcile now?',
        text: 'This node lists the store again and checks every room. Rooms on air are not interrupted.',
        yes: 'Reconcile',
        done: 'The node checks every room',
      },
    ),
  );
  void showSession();
}
