// The built files are committed and compiled into the binary, so their names carry no hash: the server
// revalidates them by ETag instead.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import browsers from './browsers.json' with { type: 'json' };
import { NEEDED } from './src/browsers.ts';

const hls = JSON.parse(readFileSync('node_modules/hls.js/package.json', 'utf8'));
const uplot = JSON.parse(readFileSync('node_modules/uplot/package.json', 'utf8'));
const notices: Record<string, string> = {
  hls: `/*! Contains hls.js ${hls.version} (https://github.com/video-dev/hls.js), Apache-2.0 */`,
  dashboard: `/*! Contains uPlot ${uplot.version} (https://github.com/leeoniya/uPlot), Copyright (c) 2022 Leon Sorokin, MIT */`,
};

export default defineConfig({
  base: '/',
  // The server adds its path prefix to the addresses in the HTML; the scripts find each other without it.
  experimental: { renderBuiltUrl: (_file, { hostType }) => (hostType === 'js' ? { relative: true } : undefined) },
  plugins: [{ name: 'needed-browsers', transformIndexHtml: (html) => html.replaceAll('{{NEEDED}}', NEEDED) }],
  // Listeners need no subtitles, alternative audio or DRM. The light build omits these and is a third
  // smaller, which shortens the time to the first sound.
  resolve: {
    alias: {
      'hls.js': 'hls.js/light',
      '@stentor/client': fileURLToPath(new URL('client/src/index.ts', import.meta.url)),
    },
  },
  build: {
    // The build transpiles syntax and CSS for these browsers. `tests/browser/minimum.mjs` lists the APIs that
    // they lack, for a test.
    target: Object.entries(browsers).map(([name, version]) => name + version),
    outDir: 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: 'index.html', listen: 'listen.html', speak: 'speak.html', replay: 'replay.html', dashboard: 'dashboard.html', reference: 'reference.html' },
      output: {
        // Chunks with constant names: hls.js, the code that all pages share, the listener channel, and the
        // code for speaking. The listen page loads the last one when its listener comes to the stage.
        codeSplitting: {
          groups: [
            { name: 'hls', test: /node_modules\/hls\.js\/|client\/src\/listening\/(failures|hls|loader)\.ts$/ },
            { name: 'shared', test: /web\/src\/(base|browsers|dom|link|needed|reasons|server|texts|listen\/words)\.ts$/ },
            { name: 'channel', test: /src\/(cover|names|schedule|channel\/\w+)\.ts$|client\/src\/(emitter|errors|tokens|listening\/addresses)\.ts$/ },
            { name: 'voice', test: /client\/src\/(?!listen|replay)|src\/(speak\/words|listen\/on-stage)\.ts$/ },
          ],
        },
        entryFileNames: 'assets/[name].js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
        postBanner: (chunk) => notices[chunk.name] ?? '',
      },
    },
  },
});
