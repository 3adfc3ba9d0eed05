export {
  type Answer,
  ApiError,
  type Client,
  type ClientOptions,
  createClient,
  type Operation,
  type RequestOptions,
  type ResponseError,
} from './client.js'
export * from './generated/graphql.js'
export { type IdempotencyKeys, idempotencyKeys, type KeyStorage } from './keys.js'
export { assertNever, type Cases, match } from './match.js'
export { retrying, type RetryOptions } from './retry.js'
