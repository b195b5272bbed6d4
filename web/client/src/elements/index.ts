/**
 * Web components for listening. Importing this module defines `<stentor-player>` and `<stentor-stage>`.
 *
 * @packageDocumentation
 */
import { StentorPlayerElement } from './player.js';
import { StentorStageElement } from './stage.js';

export { StentorPlayerElement, StentorStageElement };
export type { PlayerElementEvents, PlayerWords } from './player.js';
export type { StageWords } from './stage.js';

declare global {
  interface HTMLElementTagNameMap {
    'stentor-player': StentorPlayerElement;
    'stentor-stage': StentorStageElement;
  }
}

// On a server there is no registry, and a page may load two copies of the module.
if (globalThis.customElements && !customElements.get('stentor-player')) {
  customElements.define('stentor-player', StentorPlayerElement);
  customElements.define('stentor-stage', StentorStageElement);
}
