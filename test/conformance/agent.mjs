// The agent of agent/internal/conformance, on the official SDK for TypeScript.
import { BedrockAgentCoreApp } from 'bedrock-agentcore/runtime'

const tasks = []

async function* stream(last) {
  yield 'hello'
  yield { two: [2, 2] }
  yield 'data: x\n\n'
  yield null
  if (last) throw last
}

function contextOf(context) {
  const headers = context.headers
  return {
    session: context.sessionId,
    request: context.requestId,
    token: context.workloadAccessToken,
    custom: headers['x-amzn-bedrock-agentcore-runtime-custom-color'] ?? '',
    authorization: headers['authorization'] ?? '',
    cookie: headers['cookie'] ?? '',
    listed: headers['x-listed'] ?? '',
  }
}

const app = new BedrockAgentCoreApp({
  invocationHandler: {
    async process(payload, context) {
      switch (payload?.case) {
        case 'object':
          return { a: 1, b: [true, null, 1.5], c: 'x, y: z' }
        case 'text':
          return 'hé <b> & \u2028 " \\ \n'
        case 'null':
          return null
        case 'echo':
          return payload
        case 'bytes':
          return Buffer.from('raw')
        case 'unserializable':
          return 1n
        case 'error':
          throw new Error('no "model"')
        case 'stream':
          return stream()
        case 'stream that fails':
          return stream(new Error('mid'))
        case 'stream that fails at once':
          return (async function* () {
            throw new Error('first')
          })()
        case 'empty stream':
          return (async function* () {})()
        case 'context':
          return contextOf(context)
        case 'task':
          tasks.push(app.addAsyncTask('work'))
          break
        case 'finish':
          app.completeAsyncTask(tasks.pop())
          break
      }
      return 'done'
    },
  },
  websocketHandler: async (socket) => {
    socket.on('message', (data, binary) => {
      if (!binary && data.toString() === 'bye') socket.close()
      else socket.send(data, { binary })
    })
  },
  config: { logging: { enabled: false } },
})

app.run({ port: Number(process.env.PORT), host: '127.0.0.1' })
