// A tab is signed in as a role while its headers hold that role's development token.

export const headersOf = (tokens, role) =>
  role in tokens ? JSON.stringify({ Authorization: `Bearer ${tokens[role]}` }, null, 2) : ''

export const roleOf = (tokens, headers) => Object.keys(tokens).find((role) => headers?.includes(tokens[role]))
