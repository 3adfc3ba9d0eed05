// What every peer in JavaScript does alike: the caller's identity, a pool, and the project's own statements on it.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createVerifier } from 'fast-jwt'
import pg from 'pg'

const NAMESPACE = Buffer.from('f6512c40fb10420d8536ed5e675f4716', 'hex')
const VERIFIED_MAX = 1024

pg.types.setTypeParser(pg.types.builtins.INT8, Number)
// As text, which costs least, and keeps the microseconds; the database's time zone is UTC.
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => text.replace(' ', 'T').replace('+00', 'Z'))
export const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.POOL_SIZE),
  min: Number(process.env.POOL_SIZE),
})

const hyphenated = (hex) => hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')

const userIdOf = (subject) => {
  const bytes = createHash('sha1').update(NAMESPACE).update(subject).digest().subarray(0, 16)
  bytes[6] = (bytes[6] & 0x0f) | 0x50
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  return hyphenated(bytes.toString('hex'))
}

const verify = createVerifier({
  key: process.env.JWT_SECRET,
  algorithms: ['HS256'],
  allowedAud: 'videocredits',
  allowedIss: 'videocredits',
  requiredClaims: ['exp', 'aud', 'iss', 'sub', 'role'],
})
const verified = new Map() // A token is verified once, and then remembered until it expires.

// Tells whom an Authorization header names; throws when it proves nothing.
export const identify = (authorization) => {
  let identity = verified.get(authorization)
  if (identity === undefined || identity.exp * 1000 <= Date.now()) {
    const { sub, role, exp } = verify(authorization.slice('Bearer '.length))
    identity = { userId: userIdOf(sub), role, actor: `${role}:${sub}`, exp }
    if (verified.size >= VERIFIED_MAX) verified.clear()
    verified.set(authorization, identity)
  }
  return identity
}

const texts = new Map(Object.entries(JSON.parse(process.env.MUTATIONS)))
const text = (name) => {
  if (!texts.has(name)) texts.set(name, readFileSync(new URL(`../../db/queries/${name}.sql`, import.meta.url), 'utf8'))
  return texts.get(name)
}

// Runs a statement of the project, which each connection prepares once.
export const rows = async (name, values) => (await pool.query({ name, text: text(name), values })).rows

// Runs a mutation for one call: an array of one for each parameter, the last of which is the request's id.
export const answer = async (name, values) => {
  const requestId = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)
  const [row] = await rows(name, [...values, requestId].map((value) => [value]))
  return row
}

export const requestHash = (...parts) => createHash('sha256').update(JSON.stringify(parts)).digest()

export const encodeId = (kind, ...parts) =>
  `${kind}_${Buffer.from(parts.join('').replaceAll('-', ''), 'hex').toString('base64url')}`

// Reads an id as the UUIDs that it is made of.
export const decodeId = (id) => {
  const hex = Buffer.from(id.slice(id.indexOf('_') + 1), 'base64url').toString('hex')
  return [hyphenated(hex.slice(0, 32)), hyphenated(hex.slice(32))]
}
