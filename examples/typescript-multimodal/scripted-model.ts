// A model that needs no key and no network: it follows a script. To Strands it
// is a model like any other: it reads the conversation, asks for tools, finds
// their results in the next turn and streams an answer word by word.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { Model } from '@strands-agents/sdk'
import type { BaseModelConfig, JSONValue, Message, ModelStreamEvent } from '@strands-agents/sdk'

/** A tool to call. */
export interface Call {
  tool: string
  input: Record<string, JSONValue>
}

/** What the model says next: either calls or a text. error is thrown after the text. */
export interface Turn {
  calls?: Call[]
  text?: string
  error?: string
}

/** What a tool answered. */
export interface Result {
  call: Call
  text: string
  failed: boolean
}

export type Script = (messages: Message[]) => Turn

/** Says what its script says, with a pause of delay milliseconds before each word. */
export class ScriptedModel extends Model<BaseModelConfig> {
  private config: BaseModelConfig = { modelId: 'scripted', contextWindowLimit: 200_000 }

  constructor(
    private readonly script: Script,
    private readonly delay: number,
  ) {
    super()
  }

  getConfig(): BaseModelConfig {
    return this.config
  }

  updateConfig(config: BaseModelConfig): void {
    this.config = { ...this.config, ...config }
  }

  async *stream(messages: Message[]): AsyncGenerator<ModelStreamEvent> {
    const { calls = [], text = '', error } = this.script(messages)
    yield { type: 'modelMessageStartEvent', role: 'assistant' }
    for (const { tool: name, input } of calls) {
      const start = { type: 'toolUseStart', name, toolUseId: `tooluse_${randomUUID()}` } as const
      yield { type: 'modelContentBlockStartEvent', start }
      yield { type: 'modelContentBlockDeltaEvent', delta: { type: 'toolUseInputDelta', input: JSON.stringify(input) } }
      yield { type: 'modelContentBlockStopEvent' }
    }
    if (text) {
      yield { type: 'modelContentBlockStartEvent' }
      for (const word of text.match(/\S+\s*/g) ?? []) {
        await sleep(this.delay)
        yield { type: 'modelContentBlockDeltaEvent', delta: { type: 'textDelta', text: word } }
      }
      yield { type: 'modelContentBlockStopEvent' }
    }
    if (error) throw new Error(error)
    yield { type: 'modelMessageStopEvent', stopReason: calls.length > 0 ? 'toolUse' : 'endTurn' }
  }
}

/** What the tools answered to the last message's calls, in the order of the calls; empty if that is the user's. */
export function results(messages: Message[]): Result[] {
  return answers(messages, messages.slice(-1))
}

/** What a tool answered in the conversation so far, without its failures. */
export function earlierResults(messages: Message[], tool: string): string[] {
  return answers(messages, messages)
    .filter((r) => r.call.tool === tool && !r.failed)
    .map((r) => r.text)
}

/** The user's last message. */
export function question(messages: Message[]): Message | undefined {
  return messages.findLast((m) => m.role === 'user' && m.content.some((b) => b.type === 'textBlock'))
}

/** The text blocks of a message or of a tool's answer. */
export function textOf(content: readonly { type: string; text?: unknown }[]): string {
  return content.flatMap((b) => (b.type === 'textBlock' ? [String(b.text)] : [])).join(' ')
}

/** The answers in some messages, in the order in which the conversation called for them. */
function answers(conversation: Message[], among: Message[]): Result[] {
  const found = new Map(among.flatMap((m) => m.content).flatMap((b) => (b.type === 'toolResultBlock' ? [[b.toolUseId, b]] : [])))
  return conversation.flatMap((m) => m.content).flatMap((b) => {
    const answer = b.type === 'toolUseBlock' ? found.get(b.toolUseId) : undefined
    if (b.type !== 'toolUseBlock' || !answer) return []
    const call = { tool: b.name, input: b.input as Call['input'] }
    return [{ call, text: textOf(answer.content), failed: answer.status === 'error' }]
  })
}
