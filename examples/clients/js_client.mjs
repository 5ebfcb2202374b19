// Calls an agent with the AWS SDK for JavaScript and prints its answer as it comes.
//
//   npm install @aws-sdk/client-bedrock-agentcore
//   node js_client.mjs ARN "2X5" [SESSION]
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'

import { BedrockAgentCoreClient, InvokeAgentRuntimeCommand } from '@aws-sdk/client-bedrock-agentcore'

const [agentRuntimeArn, prompt, runtimeSessionId = randomUUID()] = process.argv.slice(2)

const client = new BedrockAgentCoreClient({ maxAttempts: 1 }) // repeating the call would ask the agent twice
const response = await client.send(
  new InvokeAgentRuntimeCommand({
    agentRuntimeArn,
    runtimeSessionId,
    contentType: 'application/json',
    accept: 'text/event-stream, application/json',
    payload: JSON.stringify({ prompt, user_id: '1' }),
  }),
)
if (response.contentType.includes('text/event-stream')) {
  for await (const line of createInterface({ input: response.response })) {
    if (!line.startsWith('data: ')) continue
    const event = JSON.parse(line.slice('data: '.length))
    process.stdout.write(typeof event === 'string' ? event : `\n${JSON.stringify(event)}`)
  }
  console.log()
} else {
  console.log(JSON.parse(await response.response.transformToString()))
}
console.error('session:', runtimeSessionId)
