import { defineConfig } from 'vite'

export default defineConfig({
  base: './', // The page finds its files beside itself, below whatever path a proxy serves it.
  build: {
    outDir: '../server/explorer',
    emptyOutDir: true,
    assetsDir: 'graphql', // So that all of it is at /graphql and below.
    license: { fileName: 'licenses.md' }, // Of all that is in it, as they demand.
    chunkSizeWarningLimit: 4096, // Kilobytes: most is Monaco, the editor.
  },
})
