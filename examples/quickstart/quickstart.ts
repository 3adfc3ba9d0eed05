import * as api from '@videocredits/client'

const find = <E extends HTMLElement>(selector: string, root: ParentNode = document) => root.querySelector<E>(selector)!
const words = (name: string) => name.charAt(0) + name.slice(1).toLowerCase().replaceAll('_', ' ')
const tokens = JSON.parse(find('#data').textContent!) // In an app, your identity provider gives the user's alone.
const client = api.createClient({ url: 'graphql', token: tokens.USER, fetch: watched })
const webhook = api.createClient({ url: 'graphql', token: tokens.ADMIN }) // Stands for your payment provider's.
const keys = api.idempotencyKeys()
let userId = ''

/** Says something in a place that is read out, too; beside a note of class `short`, the stylesheet shows an offer. */
const say = (at: string, className: string, textContent: string) => Object.assign(find(at), { className, textContent })
const fail = (error: unknown) =>
  say('#note', 'bad', error instanceof api.ApiError ? error.message : 'No answer. Try again: nothing is charged twice.')

/** Tells by each request whether the server can be reached: streams that are lost send one again and again. */
async function watched(...request: Parameters<typeof fetch>) {
  const response = await fetch(...request).catch(() => undefined)
  say('#connection', response ? 'good' : 'bad', response ? 'Live' : 'Reconnecting …')
  return response ?? Promise.reject(new TypeError('Nothing answers.'))
}

async function create(form: HTMLFormElement) {
  const [title = '', videoStyle = ''] = Array.from(new FormData(form).values(), (value) => String(value).trim())
  if (title === '') return find('input').focus() // So is the later of two clicks, once the earlier is answered.
  say('#note', 'busy', 'One moment …')
  const { createVideoData } = await keys.use('create', (idempotencyKey) =>
    client.request(api.CreateVideoDataDocument, { input: { title, videoStyle, idempotencyKey } }),
  )
  api.match(createVideoData, { // Without a case for each refusal it does not typecheck.
    CreateVideoDataSuccess: ({ user }) => (form.reset(), say('#note', 'good', `Queued. ${user.credits} credits left.`)),
    InsufficientCredits: (it) => say('#note', 'short', `A video costs ${it.required}; you have ${it.balance} left.`),
    IdempotencyKeyReused: () => say('#note', 'bad', 'Your last video was made after all. Press again for this one.'),
    UserNotFound: () => say('#note', 'bad', 'Please sign up first.'),
    QuotaExceeded: (it) => say('#note', 'bad', it.message), OperationRefused: (it) => say('#note', 'bad', it.message),
  })
}

async function buy() {
  const { adjustUserCredits: bought } = await keys.use('buy', (idempotencyKey) =>
    webhook.request(api.AdjustUserCreditsDocument, { input: { userId, amount: 10, kind: 'PURCHASE', idempotencyKey } }),
  )
  if (bought.__typename !== 'AdjustUserCreditsSuccess') return say('#note', 'bad', bought.message)
  if (document.activeElement === find('#note + button')) find('#create button').focus() // The offer goes.
  say('#note', 'good', '10 credits added.')
}

document.onsubmit = (event) => {
  event.preventDefault()
  void (event.target === find('#buy') ? buy() : create(find('#create'))).catch(fail)
}

/** Draws a list into the elements that it has already, so that nothing flickers or loses the focus. */
function draw<Item>(list: string, edges: { node: Item }[] = [], parts: (node: Item) => Record<string, object>) {
  const [template, ...rows] = find(list).children as unknown as [HTMLTemplateElement, ...HTMLElement[]]
  edges.forEach(({ node }, index) => {
    const row = rows[index] ?? find(list).appendChild(find('li', template.content).cloneNode(true) as HTMLElement)
    for (const [part, properties] of Object.entries(parts(node))) Object.assign(find(part, row), properties)
  })
  rows.slice(edges.length).forEach((row) => row.remove())
  find(list).ariaBusy = 'false'
}

async function followVideos() {
  for await (const { videosUpdated } of client.follow(api.VideosUpdatedDocument, { filter: { trashed: 'EXCLUDE' } }))
    draw('#videos', videosUpdated?.edges, ({ title, status, videoStyle, renderProgress, downloadUrl }) => ({
      b: { textContent: title }, small: { textContent: words(status) }, i: { className: `${videoStyle} ${status}` },
      progress: { value: renderProgress, hidden: status !== 'RENDERING', ariaLabel: `${title}, rendered` },
      a: { href: downloadUrl, hidden: !downloadUrl, ariaLabel: `Watch ${title}` },
    }))
}

async function followAccount() {
  await client.request(api.RegisterUserDocument, { input: { name: 'Dana Lee' } })
  for await (const { viewerUpdated } of client.follow(api.ViewerUpdatedDocument)) {
    userId = viewerUpdated.user?.id ?? ''
    find('#who').textContent = viewerUpdated.user?.name ?? ''
    find('output').textContent = String(viewerUpdated.user?.credits)
    const answer = await client.request(api.StatementDocument, { first: 10 }).catch(() => undefined)
    if (!answer) continue // Then the stream is lost as well, and when it comes back this is asked again.
    draw('#entries', answer.viewer?.creditEntries.edges, ({ kind, amount, balanceAfter, videoData }) => ({
      b: { textContent: videoData?.title ?? 'Credits' }, small: { textContent: words(kind) },
      strong: { textContent: amount > 0 ? `+${amount}` : `−${-amount}` }, i: { textContent: `${balanceAfter} left` },
    }))
  }
}
Promise.all([followVideos(), followAccount()]).catch(fail)
