// Parts of the pages that work without a page.

export * from '../src/browsers';
export * from '../src/link';
export * from '../src/names';
export * from '../src/reasons';
export * from '../src/needed';
export * from '../src/schedule';
export * from '../src/texts';
export * from '../src/server';
export * from '../src/speak/entrance';
export * from '../src/speak/words';
export * from '../src/listen/words';
export * from '../src/reference/document';
export { duration, needsAttention } from '../src/dashboard/data';
export * from '../src/replay/words';
export * from '../src/replay/wave';
