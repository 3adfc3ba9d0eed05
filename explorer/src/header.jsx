import { pick, useGraphiQL, useGraphiQLActions } from '@graphiql/react'
import { useEffect } from 'react'

import { roleOf } from './roles.js'

// `setVisiblePlugin` alone leaves the pane where it is hidden, outside the page: only the sidebar's buttons bring it in.
const showDocs = () => document.querySelector('[aria-label="Show Documentation Explorer"]')?.click()

// What is above GraphiQL: whose API it is, whose token the tab is run with, and where to read on.
export const Header = ({ version, tokens }) => {
  const { tabs, activeTabIndex, headerEditor, ...editors } = useGraphiQL(
    pick('tabs', 'activeTabIndex', 'headerEditor', 'queryEditor', 'variableEditor', 'responseEditor'),
  )
  const { updateActiveTabValues } = useGraphiQLActions()
  const current = roleOf(tokens, tabs[activeTabIndex].headers)

  // What examples say is seen to the end of its lines.
  useEffect(() => {
    for (const editor of [headerEditor, ...Object.values(editors)]) {
      editor?.updateOptions({ fontSize: 13, wordWrap: 'on' })
    }
  }, [headerEditor, ...Object.values(editors)])

  const signIn = (role) => {
    let others = {}
    try {
      others = JSON.parse(headerEditor.getValue() || '{}')
    } catch {} // What is no JSON could not be sent either.
    const headers = JSON.stringify({ ...others, Authorization: `Bearer ${tokens[role]}` }, null, 2)
    headerEditor.setValue(headers)
    updateActiveTabValues({ headers }) // The editor tells of it a little later, and the switch would wait for it.
  }

  return (
    <header>
      <h1>
        videocredits <small>{version}</small>
      </h1>
      {headerEditor && Object.keys(tokens).length > 0 && (
        <fieldset>
          <legend>Run as</legend>
          <div className="roles">
            {Object.keys(tokens).map((role) => (
              <label key={role}>
                <input type="radio" name="role" checked={role === current} onChange={() => signIn(role)} />
                {role.toLowerCase()}
              </label>
            ))}
          </div>
        </fieldset>
      )}
      <nav>
        <button type="button" onClick={showDocs}>
          Docs
        </button>
        <a href="graphql/schema.graphql">schema.graphql</a>
      </nav>
    </header>
  )
}
