// GraphiQL, with the examples and the tokens that the server has put into the page.

import { DOC_EXPLORER_PLUGIN, DocExplorerStore } from '@graphiql/plugin-doc-explorer'
import { explorerPlugin } from '@graphiql/plugin-explorer'
import { HISTORY_PLUGIN, HistoryStore } from '@graphiql/plugin-history'
import { GraphiQLProvider, useGraphiQL } from '@graphiql/react'
import { createGraphiQLFetcher } from '@graphiql/toolkit'
import { GraphiQL, GraphiQLInterface } from 'graphiql'
import 'graphiql/setup-workers/vite'
import 'graphiql/style.css'
import '@graphiql/plugin-explorer/style.css'
import { Kind, parse } from 'graphql'
import { createClient } from 'graphql-ws'
import { useEffect } from 'react'
import { createRoot } from 'react-dom/client'

import { Header } from './header.jsx'
import { headersOf } from './roles.js'
import { createStorage } from './storage.js'
import './style.css'

const { version, tokens, examples } = JSON.parse(document.getElementById('data').textContent)
const tabs = examples.map(({ role, ...tab }) => ({ ...tab, headers: headersOf(tokens, role) }))
const { storage, yours } = createStorage(tokens, tabs)

const url = location.pathname
const socketUrl = new URL(url, location.href.replace(/^http/, 'ws')).href
const TOKEN_IS_WRONG = 4403

// GraphiQL looks a moment later which operation a document has, and what is run at once would be named as the one before.
const present = ({ query, operationName }) => {
  try {
    const documentAST = parse(query)
    const operations = documentAST.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
    const names = operations.map(({ name }) => name?.value)
    return { documentAST, operationName: names.includes(operationName) ? operationName : names[0] }
  } catch {
    return {} // The server says what is wrong.
  }
}

// One client for each run, which sends the headers of its tab.
const fetcher = (request, { headers } = {}) => {
  const { documentAST, operationName } = present(request)
  const wsClient = createClient({
    url: socketUrl,
    connectionParams: headers,
    shouldRetry: ({ code }) => code !== TOKEN_IS_WRONG,
  })
  const send = createGraphiQLFetcher({ url, enableIncrementalDelivery: false, wsClient })
  return send({ ...request, operationName }, { headers, documentAST })
}

// When it is opened, it takes the focus to some number far down, unless the focus is in an editor.
const { content: Explorer, ...explorer } = explorerPlugin()
const ExplorerBesideEditor = () => {
  const queryEditor = useGraphiQL((state) => state.queryEditor)
  useEffect(() => queryEditor?.focus(), [queryEditor])
  return <Explorer />
}
const plugins = [DOC_EXPLORER_PLUGIN, { ...explorer, title: 'Explorer', content: ExplorerBesideEditor }, HISTORY_PLUGIN]

createRoot(document.getElementById('explorer')).render(
  <GraphiQLProvider
    fetcher={fetcher}
    defaultTabs={[...tabs, ...yours]}
    defaultHeaders={tabs[0].headers}
    defaultQuery=""
    storage={storage}
    shouldPersistHeaders // The storage sees to it that none is kept.
    inputValueDeprecation
    plugins={plugins}
    referencePlugin={DOC_EXPLORER_PLUGIN}
  >
    <HistoryStore>
      <DocExplorerStore>
        <div className="graphiql-container page">
          <Header version={version} tokens={tokens} />
          <GraphiQLInterface defaultEditorToolsVisibility="variables" showPersistHeadersSettings={false}>
            <GraphiQL.Logo>{null}</GraphiQL.Logo>
          </GraphiQLInterface>
        </div>
      </DocExplorerStore>
    </HistoryStore>
  </GraphiQLProvider>,
)
