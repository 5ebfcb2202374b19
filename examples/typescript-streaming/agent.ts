// An agent that streams its answer, calls tools and remembers its session.
//
// One process serves one session, so the Agent below, made once, is the memory
// of one conversation: the next invocation with the same session id finds it again.
import { Agent } from '@strands-agents/sdk'
import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'

import { PROMPT, TOOLS, script } from './assistant.js'
import { pickModel } from './models.js'

const agent = new Agent({ model: await pickModel(script), tools: TOOLS, systemPrompt: PROMPT, printer: false })

let turn: Promise<void> = Promise.resolve() // an Agent answers one prompt at a time; the next one waits

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    // What a generator yields is sent to the caller at once, as one server-sent event each.
    async *process(request, context) {
      const prompt = (request as { prompt?: unknown } | null)?.prompt
      if (typeof prompt !== 'string' || !prompt.trim()) {
        yield { data: { error: 'the payload has no prompt; send for example {"prompt": "2X5"}' } }
        return
      }
      const before = turn
      let done = (): void => {}
      turn = new Promise((resolve) => (done = resolve))
      await before
      try {
        for await (const event of agent.stream(prompt)) {
          if (event.type !== 'modelStreamUpdateEvent') continue
          if (event.event.type === 'modelContentBlockDeltaEvent' && event.event.delta.type === 'textDelta') {
            yield { data: event.event.delta.text }
          }
        }
      } catch (error) {
        context.log.error(error, 'the agent failed') // the stack, for the log; the caller gets one line
        yield { data: { error: (error as Error).message } }
      } finally {
        done()
      }
    },
  },
})

app.run()
