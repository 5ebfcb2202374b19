// Deploys a zip with nothing but the AWS SDK for JavaScript v3, and takes it
// all away again. Arguments and lines are those of deploy_script.py; its head
// documents them.
import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { BedrockAgentCore } from '@aws-sdk/client-bedrock-agentcore'
import { BedrockAgentCoreControl } from '@aws-sdk/client-bedrock-agentcore-control'
import { IAM, waitUntilRoleExists } from '@aws-sdk/client-iam'
import { S3, waitUntilBucketNotExists } from '@aws-sdk/client-s3'
import { STS } from '@aws-sdk/client-sts'
import { Upload } from '@aws-sdk/lib-storage'

const trust = {
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Allow', Principal: { Service: 'bedrock-agentcore.amazonaws.com' }, Action: 'sts:AssumeRole' },
  ],
}
const policy = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: ['bedrock:InvokeModel'], Resource: '*' }],
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string', default: 'deployed_by_script' },
    runtime: { type: 'string', default: 'PYTHON_3_11' },
    'entry-point': { type: 'string', multiple: true, default: ['agent.py'] },
    payload: { type: 'string', default: '{"prompt": "hello"}' },
    poll: { type: 'string', default: '0.5' },
    'storage-only': { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const [zip] = positionals
if (!zip) {
  console.error('usage: deploy_script.mjs ZIP [options]; see deploy_script.py')
  process.exit(2)
}

const clients = []
const client = (Client) => {
  clients.push(new Client({}))
  return clients.at(-1)
}
const s3 = client(S3)
const iam = client(IAM)
const RoleName = `agentcore-${options.name}-role`
const Key = `${options.name}/code.zip`
let Bucket
let step = 'caller'

try {
  const caller = await client(STS).getCallerIdentity({})
  const region = await s3.config.region()
  Bucket = `agentcore-code-${caller.Account}-${region}`
  say('caller', { account: caller.Account, arn: caller.Arn })
  const roleArn = await createRole(caller.Account)
  await upload(region)
  if (!options['storage-only']) await useRuntime(roleArn)
  if (!options.keep) await deleteStorage()
  say('end')
} catch (e) {
  console.error(e)
  say('error', {
    step,
    exception: e.name,
    code: e.$fault ? e.name : null,
    status: e.$metadata?.httpStatusCode ?? null,
    message: e.message,
  })
  process.exitCode = 1
} finally {
  for (const c of clients) c.destroy()
}

async function createRole(account) {
  step = 'role'
  let arn
  let created = true
  try {
    const out = await iam.createRole({
      RoleName,
      AssumeRolePolicyDocument: JSON.stringify(trust),
      Description: `Execution role for ${options.name}`,
    })
    arn = out.Role.Arn
  } catch (e) {
    if (e.name !== 'EntityAlreadyExistsException') throw e
    arn = `arn:aws:iam::${account}:role/${RoleName}`
    created = false
  }
  await iam.putRolePolicy({ RoleName, PolicyName: 'agent-policy', PolicyDocument: JSON.stringify(policy) })
  await waitUntilRoleExists({ client: iam, maxWaitTime: 10 }, { RoleName })
  const { Role: kept } = await iam.getRole({ RoleName })
  const document = decodeURIComponent(kept.AssumeRolePolicyDocument)
  if (kept.Arn !== arn || document !== JSON.stringify(trust)) throw new Error(`the role is ${JSON.stringify(kept)}`)
  say('role', { arn, created })
  return arn
}

async function upload(region) {
  step = 'bucket'
  let created = true
  try {
    await s3.headBucket({ Bucket })
    created = false
  } catch (e) {
    if (e.name !== 'NotFound') throw e
  }
  const where = region === 'us-east-1' ? {} : { CreateBucketConfiguration: { LocationConstraint: region } }
  try {
    await s3.createBucket({ Bucket, ...where })
  } catch (e) {
    if (e.name !== 'BucketAlreadyOwnedByYou') throw e
  }
  await s3.putPublicAccessBlock({
    Bucket,
    PublicAccessBlockConfiguration: {
      BlockPublicAcls: true,
      IgnorePublicAcls: true,
      BlockPublicPolicy: true,
      RestrictPublicBuckets: true,
    },
  })
  say('bucket', { bucket: Bucket, created })
  step = 'upload'
  const params = { Bucket, Key, Body: createReadStream(zip), ContentType: 'application/zip' }
  await new Upload({ client: s3, params }).done()
  const head = await s3.headObject({ Bucket, Key })
  say('upload', { bucket: Bucket, key: Key, bytes: head.ContentLength, etag: head.ETag })
}

async function useRuntime(roleArn) {
  const control = client(BedrockAgentCoreControl)
  step = 'runtime'
  const { agentRuntimeId, agentRuntimeArn, status } = await control.createAgentRuntime({
    agentRuntimeName: options.name,
    agentRuntimeArtifact: {
      codeConfiguration: {
        code: { s3: { bucket: Bucket, prefix: Key } },
        runtime: options.runtime,
        entryPoint: options['entry-point'],
      },
    },
    roleArn,
    networkConfiguration: { networkMode: 'PUBLIC' },
    protocolConfiguration: { serverProtocol: 'HTTP' },
  })
  const runtime = { id: agentRuntimeId, arn: agentRuntimeArn }
  say('runtime', { ...runtime, status })
  await poll('runtime', () => control.getAgentRuntime({ agentRuntimeId }), runtime)
  step = 'endpoint'
  const endpoint = async () => {
    const { runtimeEndpoints } = await control.listAgentRuntimeEndpoints({ agentRuntimeId })
    return runtimeEndpoints.find((e) => e.name === 'default')
  }
  await control.createAgentRuntimeEndpoint({ agentRuntimeId, name: 'default' })
  await poll('endpoint', endpoint, { name: 'default' })
  await invoke(agentRuntimeArn)
  step = 'deleted'
  await control.deleteAgentRuntimeEndpoint({ agentRuntimeId, endpointName: 'default' })
  await gone('endpoint', endpoint)
  await control.deleteAgentRuntime({ agentRuntimeId })
  await gone('runtime', () => control.getAgentRuntime({ agentRuntimeId }))
}

async function poll(event, get, fields) {
  for (let last; ; await sleep(options.poll * 1000)) {
    const { status, failureReason = null } = await get()
    if (status !== last) say(event, { ...fields, status, failureReason })
    last = status
    if (status === 'READY') return
    if (status.includes('FAILED')) throw new Error(`${event} is ${status}: ${failureReason}`)
  }
}

async function gone(what, get) {
  try {
    while (await get()) await sleep(options.poll * 1000)
  } catch (e) {
    if (e.name !== 'ResourceNotFoundException') throw e
  }
  say('deleted', { what })
}

async function invoke(agentRuntimeArn) {
  step = 'answer'
  const data = client(BedrockAgentCore)
  const target = { agentRuntimeArn, qualifier: 'default', runtimeSessionId: randomUUID() }
  const response = await data.invokeAgentRuntime({
    ...target,
    payload: Buffer.from(options.payload),
    contentType: 'application/json',
  })
  say('answer', {
    session: response.runtimeSessionId,
    statusCode: response.statusCode,
    contentType: response.contentType,
    body: await response.response.transformToString(),
  })
  step = 'stopped'
  await data.stopRuntimeSession(target)
  say('stopped', { session: target.runtimeSessionId })
}

async function deleteStorage() {
  step = 'deleted'
  for (;;) {
    const page = await s3.listObjectVersions({ Bucket })
    const all = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])]
    if (!all.length) break
    const Objects = all.map(({ Key, VersionId }) => ({ Key, VersionId }))
    const { Errors } = await s3.deleteObjects({ Bucket, Delete: { Objects } })
    if (Errors?.length) throw new Error(JSON.stringify(Errors))
  }
  say('deleted', { what: 'object' })
  await s3.deleteBucket({ Bucket })
  await waitUntilBucketNotExists({ client: s3, maxWaitTime: 10 }, { Bucket })
  say('deleted', { what: 'bucket' })
  const { PolicyNames } = await iam.listRolePolicies({ RoleName })
  for (const PolicyName of PolicyNames) await iam.deleteRolePolicy({ RoleName, PolicyName })
  const { AttachedPolicies } = await iam.listAttachedRolePolicies({ RoleName })
  for (const { PolicyArn } of AttachedPolicies) await iam.detachRolePolicy({ RoleName, PolicyArn })
  await iam.deleteRole({ RoleName })
  say('deleted', { what: 'role' })
}

function say(event, fields = {}) {
  console.log(JSON.stringify({ event, ...fields }))
}
