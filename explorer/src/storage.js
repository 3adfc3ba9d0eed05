// What GraphiQL keeps in this browser. Each visit begins with the examples that the server has just made, as those that
// were kept would hold ids of another database, used keys and expired tokens; of the tabs, those that you have added are
// kept. No token is: of headers only the role is, whose token of the day is put back. All stands under a name of ours,
// because whatever else you develop at this address shares its localStorage.

import { headersOf, roleOf } from './roles.js'

const PREFIX = 'videocredits:'
const TABS = 'graphiql:tabState'
const HISTORY = { 'graphiql:queries': 'queries', 'graphiql:favorites': 'favorites' }
const EDITORS_SHARE = { 'graphiql:editorFlex': '1.25' } // Of the answer's width: the examples' lines fit in.
const FORGOTTEN = ['graphiql:query', 'graphiql:variables', 'graphiql:headers']

const nameOf = (query) => /^(?:query|mutation|subscription)\s+(\w+)/m.exec(query)?.[1]

export const createStorage = (tokens, examples) => {
  const names = new Set(examples.map(({ query }) => nameOf(query)))
  const isYours = ({ query }) => query?.trim() && !names.has(nameOf(query))
  const read = (key) => localStorage.getItem(PREFIX + key)
  const write = (key, text) => localStorage.setItem(PREFIX + key, text)
  const kept = (items) => items.map(({ headers, response, ...item }) => ({ ...item, role: roleOf(tokens, headers) }))
  const restored = (items) => items.map(({ role, ...item }) => ({ ...item, headers: headersOf(tokens, role) }))

  const storage = {
    getItem(key) {
      if (key === TABS) return null
      const text = read(key)
      if (key in HISTORY && text) return JSON.stringify({ [HISTORY[key]]: restored(JSON.parse(text)) })
      return text ?? EDITORS_SHARE[key]
    },
    setItem(key, text) {
      if (key === TABS) write(key, JSON.stringify(kept(JSON.parse(text).tabs.filter(isYours))))
      else if (key in HISTORY) write(key, JSON.stringify(kept(JSON.parse(text)[HISTORY[key]])))
      else if (!FORGOTTEN.includes(key)) write(key, text)
    },
    removeItem: (key) => localStorage.removeItem(PREFIX + key),
    clear() {
      for (const key of Object.keys(localStorage)) if (key.startsWith(PREFIX)) localStorage.removeItem(key)
    },
    length: 0,
  }
  return { storage, yours: restored(JSON.parse(read(TABS) ?? '[]')) }
}
