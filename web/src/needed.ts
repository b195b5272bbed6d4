// Text that names the oldest browsers. Owns only the sentence; `browsers.ts` has the numbers.

import browsers from '../browsers.json' with { type: 'json' };
import { t } from './texts';

/** Returns the required browsers as readable text. */
export const needed = (): string =>
  t('Chrome or Edge {chrome}, Firefox {firefox}, Safari {safari} (also on iPhone and iPad), or a newer version', browsers);
