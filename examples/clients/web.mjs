// A page that talks to an agent, its answers streamed: node web.mjs AGENT, then open http://127.0.0.1:8000
//
// A browser calls this server, not the runtime, which refuses pages of other
// origins: whoever may call an agent must not be decided by a web page. This is
// where your users would log in, and get a session id of their own.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const agent = encodeURIComponent(process.argv[2] ?? 'python_streaming')
const runtime = process.env.AWS_ENDPOINT_URL_BEDROCK_AGENTCORE ?? 'http://127.0.0.1:4765'
const page = readFileSync(new URL('web.html', import.meta.url))

createServer(async (request, response) => {
  if (request.method === 'GET') {
    // The cookie is out of reach of scripts and of other sites.
    const cookie = /session=([0-9a-f-]{36})/.exec(request.headers.cookie ?? '')?.[1] ?? randomUUID()
    response.writeHead(200, { 'Content-Type': 'text/html', 'Set-Cookie': `session=${cookie}; HttpOnly; SameSite=Strict` }).end(page)
    return
  }
  const session = /session=([0-9a-f-]{36})/.exec(request.headers.cookie ?? '')?.[1]
  if (request.method !== 'POST' || request.url !== '/ask' || !session) {
    response.writeHead(404).end()
    return
  }
  const gone = new AbortController() // a closed page ends the call, and with it the agent's turn
  response.on('close', () => gone.abort())
  try {
    const answer = await fetch(`${runtime}/runtimes/${agent}/invocations`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Accept: 'text/event-stream',
        'X-Amzn-Bedrock-AgentCore-Runtime-Session-Id': session,
      },
      body: Readable.toWeb(request),
      duplex: 'half',
      signal: gone.signal,
    })
    response.writeHead(answer.status, { 'Content-Type': answer.headers.get('content-type') ?? 'text/plain' })
    await pipeline(Readable.fromWeb(answer.body), response)
  } catch (error) {
    if (!response.headersSent) response.writeHead(502)
    response.end(String(error))
  }
}).listen(Number(process.env.PORT ?? 8000), '127.0.0.1')
