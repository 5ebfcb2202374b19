// An agent that knows who asks, and remembers what was said in the session.
//
// The runtime gives each session id a sandbox of its own, so the Agent below,
// made once per process, holds one user's conversation; another session has
// another process, and nothing is shared.
import { Agent } from '@strands-agents/sdk'
import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'
import { z } from 'zod'

import { PROMPT, TOOLS, script } from './assistant.js'
import { pickModel } from './models.js'

const agent = new Agent({
  model: await pickModel(script),
  tools: TOOLS,
  systemPrompt: `${PROMPT} Begin by greeting the user by name.`,
  printer: false,
})

const USERS: Record<string, string> = { 1: 'Maira', 2: 'Mani', 3: 'Mark', 4: 'Ishan', 5: 'Dhawal' }

let turn: Promise<unknown> = Promise.resolve() // an Agent answers one prompt at a time; the next one waits

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    // A payload of another shape is answered 400, with what is wrong with it.
    requestSchema: z.object({ prompt: z.string().trim().min(1), user_id: z.coerce.string() }),
    async process({ prompt, user_id }, context) {
      const name = USERS[user_id]
      if (!name) return { error: `there is no user ${user_id}; user_id is one of ${Object.keys(USERS).join(', ')}` }
      context.log.info({ user: user_id, messages: agent.messages.length }, 'invoked') // prompts stay out of the log
      const answer = turn.then(() =>
        agent.invoke(`My name is ${name}. Here is my request: ${prompt}\n\nAdditional context: this is session ${context.sessionId}.`),
      )
      turn = answer.catch(() => {}) // the next one waits for the end, whatever it is
      return JSON.stringify((await answer).toString())
    },
  },
})

app.run()
