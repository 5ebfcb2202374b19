// An assistant: its tools, and the script by which the scripted model uses them.
import { tool } from '@strands-agents/sdk'
import type { Message } from '@strands-agents/sdk'
import { z } from 'zod'

import { evaluate } from './arithmetic.js'
import { earlierResults, question, results, textOf } from './scripted-model.js'
import type { Call, Result, Turn } from './scripted-model.js'

const getWeather = tool({
  name: 'get_weather',
  description: 'Tell the current weather.',
  inputSchema: z.object({ city: z.string().default('your city').describe('Name of the city') }),
  callback: ({ city }) => `It is sunny in ${city}.`, // a dummy, so that the example needs no network
})

const getTime = tool({
  name: 'get_time',
  description: 'Tell the current date and time.',
  inputSchema: z.object({ timezone: z.string().default('UTC').describe('An IANA time zone, such as Europe/Paris') }),
  callback: ({ timezone }) =>
    new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' }).format() + ' ' + timezone,
})

const calculator = tool({
  name: 'calculator',
  description: 'Work out an arithmetic expression.',
  inputSchema: z.object({ expression: z.string().describe('Numbers with + - * / % ** and parentheses, such as "2 * (3 + 4)"') }),
  callback: ({ expression }) => String(Number(evaluate(expression).toPrecision(15))),
})

export const TOOLS = [getWeather, getTime, calculator]

export const PROMPT = 'You are a helpful assistant. You calculate, and tell the weather and the time, with your tools.'

const ABILITIES =
  'I am a small scripted model and know three things: sums (try 2X5, then: and that plus 34?), ' +
  "the weather (what's the weather in Paris?) and the time (what time is it?). " +
  'The README says how to give me a real model for everything else.'
const NO_SUM_YET = 'I have no result to go on with: nothing was calculated in this session yet. Try 2X5 first.'

/** Decides what to say after the last message, the user's or the tools'. */
export function script(messages: Message[]): Turn {
  const [prompt = ''] = textOf(question(messages)?.content ?? []).split('\n\n') // what follows is context
  const answers = results(messages)
  const turn = answers.length > 0 ? { text: answers.map(sentence).join(' ') } : understand(prompt, earlierResults(messages, 'calculator'))
  const name = /^My name is (\w+)\./.exec(prompt)?.[1]
  return turn.text && name ? { ...turn, text: `Hello ${name}. ${turn.text}` } : turn
}

function understand(prompt: string, sums: string[]): Turn {
  if (/\bbreak off\b/i.test(prompt)) return { text: 'I begin to answer, and then ', error: 'the model broke off, as you asked' }
  const calls: Call[] = []
  const expression = findSum(prompt)
  if (expression?.includes(PREVIOUS) && sums.length === 0) return { text: NO_SUM_YET }
  if (expression) calls.push({ tool: 'calculator', input: { expression: expression.replaceAll(PREVIOUS, sums.at(-1) ?? '') } })
  if (/\bweather\b/i.test(prompt)) {
    const city = /\bin ([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)/.exec(prompt)?.[1]
    calls.push({ tool: 'get_weather', input: city ? { city } : {} })
  }
  if (/\bwhat(['’]s| is)?( the)?( current)? (time|date)\b|\btime is it\b|\bo'?clock\b/i.test(prompt)) {
    const timezone = /\b[A-Z]\w+\/[A-Z]\w+\b/.exec(prompt)?.[0] // Europe/Paris
    calls.push({ tool: 'get_time', input: timezone ? { timezone } : {} })
  }
  return calls.length > 0 ? { calls } : { text: ABILITIES }
}

/** Says in words what a tool answered. */
function sentence({ call, text, failed }: Result): string {
  if (failed) return `The tool ${call.tool} failed. ${text}`
  if (call.tool === 'calculator') return `${call.input.expression} is ${text}.`
  if (call.tool === 'get_time') return `It is ${text}.`
  return text
}

const PREVIOUS = 'that' // stands for the last result in what findSum returns

const OPERATORS: Record<string, string> = {
  x: '*', '×': '*', times: '*', 'multiplied by': '*', plus: '+', minus: '-', '−': '-',
  'divided by': '/', over: '/', '÷': '/', mod: '%', 'to the power of': '**', '^': '**',
}

const TOKEN =
  /(?<number>\d+(?:\.\d+)?)|(?<operator>\*\*|[-+*/%^×÷−]|x(?![a-wyz])|\b(?:times|plus|minus|over|mod|multiplied by|divided by|to the power of)\b)|(?<paren>[()])|(?<previous>\b(?:that|it|the result|the answer)\b)|(?<other>[a-z]+)/gi

/**
 * The first arithmetic in a sentence: "what is 6 times 7?" gives "6 * 7", and
 * "and that plus 34?" and "plus 34" give "that + 34".
 */
export function findSum(prompt: string): string | undefined {
  let run: { kind: string; text: string }[] = []
  for (const match of [...prompt.matchAll(TOKEN), undefined]) {
    const [kind, text] = Object.entries(match?.groups ?? {}).find(([, t]) => t !== undefined) ?? ['other', '']
    if (kind !== 'other') {
      run.push({ kind, text: text.toLowerCase() })
      continue
    }
    const kinds = run.map((r) => r.kind)
    if (kinds.includes('number') && kinds.includes('operator')) {
      if (kinds[0] === 'operator' && run[0]?.text !== '-') run.unshift({ kind: 'previous', text: PREVIOUS }) // -3 plus 5 starts with a sign
      return run.map((r) => (r.kind === 'previous' ? PREVIOUS : (OPERATORS[r.text] ?? r.text))).join(' ')
    }
    run = []
  }
  return undefined
}
