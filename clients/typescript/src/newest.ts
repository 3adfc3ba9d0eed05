type Values = Record<string, unknown>

/** An object as one answer had it. */
export interface Versioned extends Values {
  readonly id: string
  readonly version: number
}

/** Finds the newest of each object that has a version, and notes it. */
export function newestIn(value: unknown, newest = new Map<string, Versioned>()): Map<string, Versioned> {
  if (!isObject(value)) return newest
  if (isVersioned(value)) {
    const other = newest.get(value.id)
    const [older, newer] = other !== undefined && other.version > value.version ? [value, other] : [other, value]
    newest.delete(value.id) // The last one told of is the last to be forgotten.
    newest.set(value.id, older?.version === newer.version ? { ...older, ...newer } : newer)
  }
  for (const each of Object.values(value)) newestIn(each, newest)
  return newest
}

/** Copies a value with what is newer; what has nothing newer in it is itself, so that nobody draws it anew. */
export function updated<Value>(value: Value, newest: ReadonlyMap<string, Versioned>): Value {
  return copied(value, newest) as Value
}

function copied(value: unknown, newest: ReadonlyMap<string, Versioned>): unknown {
  if (Array.isArray(value)) {
    const items = value.map((each) => copied(each, newest))
    return items.every((each, index) => each === value[index]) ? value : items
  }
  if (!isObject(value)) return value
  const newer = isVersioned(value) ? newest.get(value.id) : undefined
  const fields: Values = newer !== undefined && newer.version > (value as Versioned).version ? newer : {}
  const copy = Object.fromEntries(
    Object.entries(value).map(([name, old]) => [name, name in fields && isOwn(old) ? fields[name] : copied(old, newest)]),
  )
  // It has that version only if it has nothing older: `updateVideoData` takes the version for what the page has seen.
  if ('version' in value && Object.keys(value).some((name) => isOwn(value[name]) && !(name in fields))) {
    copy['version'] = value['version']
  }
  return Object.keys(value).every((name) => copy[name] === value[name]) ? value : copy
}

/** Whether a field's value is its object's own: lists are known by their pages, and other objects for themselves. */
function isOwn(value: unknown): boolean {
  return !isObject(value) || !(isVersioned(value) || 'pageInfo' in value)
}

function isObject(value: unknown): value is Values {
  return typeof value === 'object' && value !== null
}

function isVersioned(value: Values): value is Versioned {
  return typeof value['id'] === 'string' && typeof value['version'] === 'number'
}
