import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'graphql'
import { defineConfig } from 'vite'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const CLIENT = path('../clients/typescript')

// What graphql-codegen makes of the client's operations, as far as it is not types: their documents, which the client keeps
// as text. So nobody who starts a server waits for the four hundred packages that it is made of.
const documents = {
  name: 'documents',
  enforce: 'pre',
  resolveId: (id) => (id === './generated/graphql.js' ? '\0documents' : null),
  load(id) {
    if (id !== '\0documents') return null
    const texts = Object.values(JSON.parse(readFileSync(`${CLIENT}/persisted-documents.json`, 'utf8')))
    const operations = texts.map((text) => parse(text, { noLocation: true }))
    const nameOf = ({ definitions }) => definitions.find(({ operation }) => operation).name.value
    return operations.map((each) => `export const ${nameOf(each)}Document = ${JSON.stringify(each)}`).join('\n')
  },
}

export default defineConfig({
  base: './', // The page finds its files beside itself, below whatever path a proxy serves it.
  plugins: [documents],
  resolve: {
    alias: { '@videocredits/client': `${CLIENT}/src/index.ts`, graphql: path('node_modules/graphql') }, // Of one package, one.
  },
  build: {
    outDir: '../server/pages/built',
    emptyOutDir: true,
    assetsDir: 'graphql', // So that all of it is at /graphql and below.
    license: { fileName: 'licenses.md' }, // Of all that is in it, as they demand.
    chunkSizeWarningLimit: 4096, // Kilobytes: most is Monaco, the editor.
  },
})
