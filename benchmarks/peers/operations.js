// What is measured, as plain functions: who may do it, its statement, and the objects that it answers with.

import { answer, decodeId, encodeId, requestHash, rows } from './database.js'

const COST = 1
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
const FIRST_ID = '00000000-0000-0000-0000-000000000000'
const PAGE_SIZE = 20

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
const names = new Map() // of columns, by prefix: those of each statement are the same every time

// Picks the columns of one object, which all have its prefix, and names them as GraphQL does.
const picked = (row, prefix) => {
  if (!names.has(prefix)) names.set(prefix, new Map())
  const known = names.get(prefix)
  const object = {}
  for (const column in row) {
    if (!known.has(column)) known.set(column, column.startsWith(prefix) ? camel(column.slice(prefix.length)) : null)
    const name = known.get(column)
    if (name !== null) object[name] = row[column]
  }
  return object
}

const user = (row) => {
  const object = picked(row, '')
  object.id = encodeId('user', object.userId)
  return object
}

// Makes a user of what a mutation answers with: the wallet, without the profile.
const wallet = (row) => {
  const object = picked(row, 'wallet_')
  object.userId = object.walletId
  object.id = encodeId('user', object.userId)
  return object
}

const video = (row, prefix = '') => {
  const object = picked(row, prefix)
  object.videoId = object.id
  object.id = encodeId('video', object.walletId, object.videoId)
  return object
}

const entry = (row) => {
  if (row.entry_number === null) return null
  const object = picked(row, 'entry_')
  object.id = encodeId('entry', object.walletId, object.number.toString(16).padStart(16, '0'))
  return object
}

const refusal = (outcome) => {
  const type = outcome.replace(/(^|_)(.)/g, (_, __, letter) => letter.toUpperCase())
  return { __typename: type, code: outcome.toUpperCase(), message: `Refused: ${outcome}.` }
}

const allow = (identity, ...roles) => {
  if (!roles.includes(identity.role)) throw new Error('You may not do this.')
}

export const createVideoData = async (input, identity) => {
  allow(identity, 'USER', 'ADMIN')
  const { title, videoStyle, topic, script, caption, voice, createdBy, idempotencyKey } = input
  const hash = requestHash('createVideoData', title, videoStyle, topic, script, caption, voice, createdBy)
  const row = await answer('create_video_data', [
    ...[identity.userId, idempotencyKey, hash, identity.userId, COST, identity.actor, title, videoStyle, topic, script],
    ...[caption && JSON.stringify(caption), voice?.voiceId, voice?.name, createdBy],
    ...[null, null], // No quotas.
  ])
  if (row.outcome !== 'created' && row.outcome !== 'replayed') return refusal(row.outcome)
  return {
    __typename: 'CreateVideoDataSuccess',
    videoData: video(row, 'video_'),
    user: wallet(row),
    entry: entry(row),
    replayed: row.outcome === 'replayed',
  }
}

export const updateVideoRecordStatus = async (input, identity) => {
  allow(identity, 'WORKER', 'ADMIN')
  const { recordId, status, comments, renderProgress, downloadUrl, attempt } = input
  const row = await answer('update_video_record_status', [
    ...[...decodeId(recordId), status, comments && JSON.stringify(comments), renderProgress, downloadUrl, attempt],
    identity.actor,
  ])
  if (!['moved', 'noted', 'unchanged'].includes(row.outcome)) return refusal(row.outcome)
  return {
    __typename: 'UpdateVideoRecordStatusSuccess',
    videoData: video(row, 'video_'),
    user: wallet(row),
    entry: entry(row),
    replayed: row.outcome === 'unchanged',
  }
}

export const adjustUserCredits = async (input, identity) => {
  allow(identity, 'ADMIN')
  const { userId, amount, takeAvailable, kind, memo, idempotencyKey } = input
  const hash = requestHash('adjustUserCredits', amount, takeAvailable, kind, memo)
  const [id] = decodeId(userId)
  const row = await answer('adjust_user_credits', [id, idempotencyKey, hash, id, amount, takeAvailable, kind, identity.actor, memo])
  if (row.outcome !== 'adjusted' && row.outcome !== 'replayed') return refusal(row.outcome)
  return {
    __typename: 'AdjustUserCreditsSuccess',
    user: wallet(row),
    entry: entry(row),
    replayed: row.outcome === 'replayed',
  }
}

export const videoData = async (id, identity) => {
  const [userId, videoId] = decodeId(id)
  if (identity.role === 'USER' && userId !== identity.userId) return null
  const [row] = await rows('get_video_data', [[userId], [videoId]])
  return row ? video(row) : null
}

export const viewer = async (identity) => {
  const [row] = await rows('get_users', [[identity.userId]])
  return row ? user(row) : null
}

// Reads the newest videos of several users at once, as a loader does.
export const videosOf = async (userIds) => {
  const found = await rows('list_videos', [userIds, LAST_ID, FIRST_ID, PAGE_SIZE + 1, null, false])
  const pages = new Map(userIds.map((userId) => [userId, []]))
  for (const row of found) pages.get(row.wallet_id).push(row)
  return userIds.map((userId) => {
    const page = pages.get(userId)
    const nodes = page.slice(0, PAGE_SIZE).map((row) => video(row))
    const endCursor = nodes.length ? Buffer.from(page[nodes.length - 1].id).toString('base64url') : null
    return { nodes, pageInfo: { hasNextPage: page.length > PAGE_SIZE, hasPreviousPage: false, endCursor } }
  })
}
