// An agent on the official bedrock-agentcore package: it streams its answer
// and remembers its session.
import { setTimeout as sleep } from 'node:timers/promises'

import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'

// One process serves one session, so a variable is the session's memory.
const heard: string[] = []

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    // What a generator yields is sent to the caller at once, as one server-sent event each.
    async *process(request, context) {
      const prompt = (request as { prompt?: unknown } | undefined)?.prompt
      if (typeof prompt !== 'string') {
        yield { data: { error: 'the payload has no prompt; send for example {"prompt": "hello"}' } }
        return
      }
      context.log.info({ calls: heard.length + 1 }, 'invoked') // payloads stay out of the log
      for (const word of answer(prompt).split(/(?<= )/)) {
        await sleep(20)
        yield { data: word }
      }
    },
  },
})

function answer(prompt: string): string {
  const before = heard.at(-1)
  heard.push(prompt)
  const memory = before === undefined ? 'We have not spoken before.' : `Before that you said "${before}".`
  return `You said "${prompt}". ${memory} This is call ${heard.length} of this session.`
}

app.run()
