// The agent's model, chosen by the environment.
import type { Model } from '@strands-agents/sdk'

import { ScriptedModel } from './scripted-model.js'
import type { Script } from './scripted-model.js'

/**
 * The model that the environment sets up, else one that follows a script.
 * Providers are imported only when they are chosen: their packages are optional.
 */
export async function pickModel(script: Script): Promise<Model> {
  const env = process.env
  if (env.BEDROCK_MODEL_ID) {
    const { BedrockModel } = await import('@strands-agents/sdk/models/bedrock') // by the Converse API
    return new BedrockModel({ modelId: env.BEDROCK_MODEL_ID })
  }
  if (env.ANTHROPIC_API_KEY) {
    const { AnthropicModel } = await import('@strands-agents/sdk/models/anthropic')
    return new AnthropicModel({
      apiKey: env.ANTHROPIC_API_KEY,
      modelId: env.ANTHROPIC_MODEL_ID || 'claude-sonnet-4-5',
      maxTokens: 4096,
    })
  }
  if (env.OPENAI_API_KEY || env.OPENAI_BASE_URL) {
    const { OpenAIModel } = await import('@strands-agents/sdk/models/openai')
    return new OpenAIModel({
      api: 'chat', // which local servers speak too
      apiKey: env.OPENAI_API_KEY || 'none', // they want no key, the client wants some
      modelId: env.OPENAI_MODEL_ID || 'gpt-5-mini',
      ...(env.OPENAI_BASE_URL && { clientConfig: { baseURL: env.OPENAI_BASE_URL } }),
    })
  }
  return new ScriptedModel(script, Number(env.SCRIPTED_MODEL_DELAY_MS || 20))
}
