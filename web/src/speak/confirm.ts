// Confirmation of actions, in the dialog of the speak page. Does not act.

import { byId, write } from '../dom';
import { t } from '../texts';

/** Asks for confirmation of an action; `yes` is the text of the button that confirms. */
export function confirmed(question: string, effect: string, yes: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('confirm');
  write(byId('confirm-title'), question);
  write(byId('confirm-text'), effect);
  write(byId('confirm-yes'), yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/** Asks for confirmation before a person is banned. */
export const confirmedBan = (name: string): Promise<boolean> =>
  confirmed(t('Ban {name} from the room?', { name }), t('They leave at once, and can neither speak nor listen until a host lets them in again.'), t('Ban'));
