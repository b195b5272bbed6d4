// The built files are committed and compiled into the binary, so their names carry no hash: the server
// revalidates them by ETag instead.
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vite';

const hls = JSON.parse(readFileSync('node_modules/hls.js/package.json', 'utf8'));
const notice = `/*! Contains hls.js ${hls.version} (https://github.com/video-dev/hls.js), Apache-2.0 */`;

export default defineConfig({
  base: '/',
  // Listeners need neither subtitles, alternative audio nor DRM: the light build has the rest at two thirds
  // of the size, and time to first sound counts.
  resolve: { alias: { 'hls.js': 'hls.js/light' } },
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: {
      input: { index: 'index.html', listen: 'listen.html', actors: 'actors.html' },
      output: {
        entryFileNames: 'assets/[name].js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
        postBanner: (chunk) => (chunk.name === 'listen' ? notice : ''),
      },
    },
  },
});
