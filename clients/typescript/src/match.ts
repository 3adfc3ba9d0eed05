/** What each member of a result is answered with, by its `__typename`: one that is left out does not typecheck. */
export type Cases<Result extends { __typename: string }, Answer> = {
  readonly [Name in Result['__typename']]: (member: Extract<Result, { __typename: Name }>) => Answer
}

/** Handles a mutation's result, success and every refusal, each with its own details. */
export function match<Result extends { __typename: string }, Answer>(
  result: Result,
  cases: Cases<Result, Answer>,
): Answer {
  const handle = cases[result.__typename as Result['__typename']] as ((member: Result) => Answer) | undefined
  return handle === undefined ? assertNever(result as never) : handle(result)
}

/** Stands where nothing can be left: in the `default` of a switch it fails the typecheck when there is a new member. */
export function assertNever(left: never): never {
  throw new Error(`This page is older than what the server answers: ${JSON.stringify(left)}`)
}
