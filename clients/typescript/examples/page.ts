// What stands for an app's page in the examples: where the server is, who signs in, and what is shown.

export const [url = '', token = ''] = process.argv.slice(2)

const shown: unknown[] = []
let check = (): void => undefined

/** Shows a value, if it is another one than before. */
export function show(value: unknown): void {
  if (shown.at(-1) === value) return
  shown.push(value)
  check()
}

/** Waits until a value is what is shown last. */
export async function until(value: unknown): Promise<void> {
  await new Promise<void>((resolve) => {
    check = () => {
      if (shown.at(-1) === value) resolve()
    }
    check()
  })
}

/** Ends the example and prints all that was shown. */
export function end(): void {
  console.log(JSON.stringify(shown))
  process.exit()
}

