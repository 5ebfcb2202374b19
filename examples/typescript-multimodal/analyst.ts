// The script by which the scripted model uses the tools of the agent.
import type { ContentBlock, Message } from '@strands-agents/sdk'

import { question, results } from './scripted-model.js'
import type { Turn } from './scripted-model.js'

const NOTHING = 'I was given neither a workbook nor an image. Send them in base64, as excel_data and image_data.'

/** Decides what to say after the last message, the user's or the tools'. */
export function script(messages: Message[]): Turn {
  const blocks = question(messages)?.content ?? []
  const answers = results(messages)
  if (answers.length > 0) return { text: [...blocks.flatMap(attached), ...answers.map((a) => a.text)].join(' ') }
  const calls = blocks.flatMap((b) => {
    if (b.type === 'documentBlock') return [{ tool: 'read_workbook', input: {} }]
    return b.type === 'imageBlock' ? [{ tool: 'look_at_image', input: {} }] : []
  })
  return calls.length > 0 ? { calls } : { text: NOTHING }
}

/** Says what a block of the user's message is; nothing of text. */
function attached(block: ContentBlock): string[] {
  if (block.type !== 'documentBlock' && block.type !== 'imageBlock') return []
  const size = 'bytes' in block.source ? block.source.bytes.length : 0
  return [`I got a ${block.format} ${block.type.replace('Block', '')} of ${size} bytes.`]
}
