// The parts of the pages that need no page.

export * from '../src/reasons';
export * from '../src/server';
export * from '../src/speak/entrance';
export * from '../src/speak/words';
