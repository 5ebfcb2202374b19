// Drives a server with an unmodified AWS SDK for JavaScript v3. Modes,
// options and lines are those of boto3_client.py; its head documents them.
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'

import {
  BedrockAgentCoreClient,
  InvokeAgentRuntimeCommand,
  InvokeAgentRuntimeCommandCommand,
  StopRuntimeSessionCommand,
} from '@aws-sdk/client-bedrock-agentcore'

const modes = { stream, json, big, stop, command }

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    session: { type: 'string' },
    qualifier: { type: 'string', default: 'DEFAULT' },
    user: { type: 'string' },
    'content-type': { type: 'string' },
    accept: { type: 'string' },
    timeout: { type: 'string' },
  },
})
const [mode, arn, argument] = positionals
if (!(mode in modes) || !arn || (mode === 'stop' ? !options.session : argument === undefined)) {
  console.error('usage: js_client.mjs stream|json|big|stop|command ARN [ARGUMENT] [options]; see boto3_client.py')
  process.exit(2)
}

const client = new BedrockAgentCoreClient({})
const start = performance.now()
try {
  await modes[mode]()
} catch (e) {
  console.error(e)
  say('error', {
    exception: e.name,
    code: e.$fault ? e.name : null, // only an answer of the server has a fault
    status: e.$metadata?.httpStatusCode ?? null,
    message: e.message,
    requestId: e.$metadata?.requestId ?? null,
  })
  process.exitCode = 1
} finally {
  client.destroy() // an answer that nobody read would keep the process alive
}

async function stream() {
  const response = await invoke(JSON.stringify({ prompt: argument }))
  if (!response.contentType?.includes('text/event-stream')) {
    throw new Error(`contentType is ${response.contentType}, not text/event-stream`)
  }
  const digest = createHash('sha256')
  let [rest, bytes] = [Buffer.alloc(0), 0]
  for await (const part of response.response) {
    rest = Buffer.concat([rest, part])
    for (let end; (end = rest.indexOf('\n')) >= 0; rest = rest.subarray(end + 1)) {
      const line = rest.subarray(0, end)
      digest.update(line)
      bytes += line.length
      if (line.subarray(0, 6).equals(Buffer.from('data: '))) say('chunk', { data: line.subarray(6).toString() })
    }
  }
  say('end', { bytes, sha256: digest.digest('hex') }) // of the lines, without their ends
}

async function command() {
  const body = { command: argument, ...(options.timeout && { timeout: Number(options.timeout) }) }
  const response = await client.send(
    new InvokeAgentRuntimeCommandCommand({
      agentRuntimeArn: arn,
      qualifier: options.qualifier,
      runtimeSessionId: options.session,
      body,
    }),
  )
  say('response', {
    statusCode: response.$metadata.httpStatusCode,
    contentType: response.contentType ?? null,
    runtimeSessionId: response.runtimeSessionId ?? null,
    requestId: response.$metadata.requestId ?? null,
  })
  for await (const { chunk } of response.stream) {
    for (const name of ['stdout', 'stderr']) {
      if (chunk.contentDelta?.[name]) say(name, { data: chunk.contentDelta[name] })
    }
    if (chunk.contentStop) say('exit', { exitCode: chunk.contentStop.exitCode, outcome: chunk.contentStop.status })
  }
}

async function json() {
  JSON.parse(argument) // a typing mistake in a test is not the server's
  const response = await invoke(argument, { contentType: 'application/json' })
  await end(await response.response.transformToByteArray())
}

async function big() {
  const payload = createHash('shake128', { outputLength: Number(argument) }).update('isolde').digest()
  const response = await invoke(payload, { contentType: 'application/octet-stream' })
  const answer = await response.response.transformToByteArray()
  const { length, sha256: got } = JSON.parse(Buffer.from(answer)).body
  if (length !== payload.length || got !== sha256(payload)) {
    throw new Error(`the agent got ${length} bytes, SHA-256 ${got}; not ${payload.length}, ${sha256(payload)}`)
  }
  await end(answer)
}

async function stop() {
  const response = await client.send(
    new StopRuntimeSessionCommand({
      agentRuntimeArn: arn,
      runtimeSessionId: options.session,
      qualifier: options.qualifier,
    }),
  )
  say('response', { contentType: null, ...outcome(response) })
  say('end', { bytes: 0, sha256: sha256('') })
}

async function invoke(payload, defaults = {}) {
  const response = await client.send(
    new InvokeAgentRuntimeCommand({
      agentRuntimeArn: arn,
      qualifier: options.qualifier,
      payload: Buffer.from(payload),
      runtimeSessionId: options.session,
      runtimeUserId: options.user,
      contentType: options['content-type'] ?? defaults.contentType,
      accept: options.accept ?? defaults.accept,
    }),
  )
  say('response', { contentType: response.contentType, ...outcome(response) })
  return response
}

function outcome(response) {
  return {
    statusCode: response.statusCode ?? null,
    runtimeSessionId: response.runtimeSessionId ?? null,
    requestId: response.$metadata.requestId ?? null,
  }
}

async function end(body) {
  say('end', { bytes: body.length, sha256: sha256(body), body: Buffer.from(body).toString() })
}

function sha256(data) {
  return createHash('sha256').update(data).digest('hex')
}

function say(event, fields) {
  const seconds = Number(((performance.now() - start) / 1000).toFixed(4))
  console.log(JSON.stringify({ event, seconds, ...fields }))
}
