// An agent that reads an Excel workbook and an image, in one payload of up to 100 MB.
//
// Both come in base64. The model gets them as a document and an image block,
// made small enough for it, and has tools to read the originals in full.
import { Agent, TextBlock, tool } from '@strands-agents/sdk'
import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'
import { z } from 'zod'

import { script } from './analyst.js'
import { Picture, Workbook } from './attachments.js'
import { pickModel } from './models.js'

// What the last payload that brought something brought; later questions are about it too.
let workbook: Workbook | undefined
let picture: Picture | undefined

const readWorkbook = tool({
  name: 'read_workbook',
  description: 'Tell the sheets of the workbook, their columns, and sums over all rows.',
  inputSchema: z.object({}),
  callback: () => workbook?.describe() ?? 'There is no workbook.',
})

const lookAtImage = tool({
  name: 'look_at_image',
  description: 'Tell the size of the image and its main colours.',
  inputSchema: z.object({}),
  callback: () => picture?.describe() ?? 'There is no image.',
})

const agent = new Agent({
  model: await pickModel(script),
  tools: [readWorkbook, lookAtImage],
  systemPrompt: 'You analyse workbooks and images. What you are shown may be an excerpt; your tools read all of it.',
  printer: false,
})

interface Payload {
  prompt?: string
  excel_data?: string
  image_data?: string
}

async function answer(payload: Payload): Promise<string> {
  const content: (ReturnType<Workbook['block']> | Awaited<ReturnType<Picture['block']>> | TextBlock)[] = []
  if (payload.excel_data) {
    workbook = await Workbook.read(Buffer.from(payload.excel_data, 'base64'))
    content.push(workbook.block())
  }
  if (payload.image_data) {
    picture = await Picture.read(Buffer.from(payload.image_data, 'base64'))
    content.push(await picture.block())
  }
  content.push(new TextBlock(payload.prompt || 'Analyze the workbook and the image.'))
  return (await agent.invoke(content)).toString()
}

let turn: Promise<unknown> = Promise.resolve() // an Agent answers one prompt at a time; the next one waits

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    async process(request, context) {
      const payload = (request ?? {}) as Payload
      // Sizes only: the log is no place for the data.
      context.log.info({ excel: payload.excel_data?.length ?? 0, image: payload.image_data?.length ?? 0 }, 'base64 characters')
      const answered = turn.then(() => answer(payload))
      turn = answered.catch(() => {})
      return answered.then(JSON.stringify, (error: Error) => ({ error: error.message }))
    },
  },
  config: {
    // The SDK takes bodies up to 1 MiB, unless a parser of yours says otherwise. It must be async: Fastify waits for its promise.
    contentTypeParsers: [
      {
        contentType: 'application/json',
        parseAs: 'buffer',
        bodyLimit: 100_000_000,
        parser: async (_: unknown, body: unknown) => JSON.parse(String(body)),
      },
    ],
  },
})

app.run()
