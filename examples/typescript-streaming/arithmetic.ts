// Arithmetic on text that a stranger wrote, without eval.

const MAX_LENGTH = 200 // characters of an expression; also bounds how deep it nests

/** The value of an expression of numbers, + - * / % ** and parentheses. */
export function evaluate(expression: string): number {
  if (expression.length > MAX_LENGTH) throw new Error(`the expression has more than ${MAX_LENGTH} characters`)
  const tokens = expression.match(/\d+(?:\.\d+)?|\*\*|[-+*/%()]|[^\s]/g) ?? []
  const value = sum(tokens)
  if (tokens.length > 0) throw new Error(`${JSON.stringify(expression)} is not an arithmetic expression`)
  if (!Number.isFinite(value)) throw new Error(`${expression} has no finite value`)
  return value
}

function sum(tokens: string[]): number {
  let value = product(tokens)
  for (;;) {
    if (take(tokens, '+')) value += product(tokens)
    else if (take(tokens, '-')) value -= product(tokens)
    else return value
  }
}

function product(tokens: string[]): number {
  let value = signed(tokens)
  for (;;) {
    if (take(tokens, '*')) value *= signed(tokens)
    else if (take(tokens, '/')) value /= signed(tokens)
    else if (take(tokens, '%')) value %= signed(tokens)
    else return value
  }
}

function signed(tokens: string[]): number {
  if (take(tokens, '-')) return -signed(tokens)
  if (take(tokens, '+')) return signed(tokens)
  const base = atom(tokens)
  return take(tokens, '**') ? base ** signed(tokens) : base
}

function atom(tokens: string[]): number {
  if (take(tokens, '(')) {
    const value = sum(tokens)
    if (!take(tokens, ')')) throw new Error('a parenthesis is not closed')
    return value
  }
  const token = tokens.shift()
  if (token === undefined || !/^\d/.test(token)) throw new Error(`${token ?? 'the end'} is not a number`)
  return Number(token)
}

function take(tokens: string[], token: string): boolean {
  const found = tokens[0] === token
  if (found) tokens.shift()
  return found
}
