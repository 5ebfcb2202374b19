package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/cloudwego/eino-ext/components/model/openai"
	"github.com/cloudwego/eino/components/model"
	"github.com/cloudwego/eino/schema"
)

// pickModel returns the model that the environment sets up, else one that
// follows the script. All providers are spoken to by OpenAI's API, which
// Bedrock and Anthropic serve too, so that one small client does.
func pickModel(ctx context.Context, script func([]*schema.Message) Turn) (model.ToolCallingChatModel, error) {
	var config openai.ChatModelConfig
	switch env := os.Getenv; {
	case env("BEDROCK_MODEL_ID") != "":
		config.BaseURL = "https://bedrock-runtime." + cmp.Or(env("AWS_REGION"), "us-east-1") + ".amazonaws.com/openai/v1"
		config.APIKey = env("AWS_BEARER_TOKEN_BEDROCK")
		config.Model = env("BEDROCK_MODEL_ID")
	case env("ANTHROPIC_API_KEY") != "":
		config.BaseURL = "https://api.anthropic.com/v1"
		config.APIKey = env("ANTHROPIC_API_KEY")
		config.Model = cmp.Or(env("ANTHROPIC_MODEL_ID"), "claude-sonnet-4-5")
	case env("OPENAI_API_KEY") != "" || env("OPENAI_BASE_URL") != "":
		config.BaseURL = env("OPENAI_BASE_URL")
		config.APIKey = cmp.Or(env("OPENAI_API_KEY"), "none") // local servers want none, the client wants some
		config.Model = cmp.Or(env("OPENAI_MODEL_ID"), "gpt-5-mini")
	default:
		ms, err := strconv.Atoi(cmp.Or(env("SCRIPTED_MODEL_DELAY_MS"), "20"))
		if err != nil {
			return nil, fmt.Errorf("SCRIPTED_MODEL_DELAY_MS: %w", err)
		}
		return &ScriptedModel{Script: script, Delay: time.Duration(ms) * time.Millisecond}, nil
	}
	m, err := openai.NewChatModel(ctx, &config)
	if err != nil {
		return nil, fmt.Errorf("set up model %s: %w", config.Model, err)
	}
	return m, nil
}
