// The React and the Vue example. `plain.html` and `host.html` need no build; they are copied to the same
// folder.
import { cpSync } from 'node:fs';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

const isCustomElement = (tag) => tag.startsWith('stentor-');

/** Copies the pages without a bundler, and the files that they load. */
const plain = {
  name: 'plain',
  closeBundle() {
    for (const page of ['plain.html', 'host.html']) cpSync(page, `dist/${page}`);
    cpSync('node_modules/@stentor/client/dist', 'dist/node_modules/@stentor/client/dist', { recursive: true, dereference: true });
    cpSync('node_modules/hls.js/dist/hls.light.mjs', 'dist/node_modules/hls.js/dist/hls.light.mjs');
  },
};

export default defineConfig({
  plugins: [vue({ template: { compilerOptions: { isCustomElement } } }), plain],
  build: { rolldownOptions: { input: ['react.html', 'vue.html'] } },
});
