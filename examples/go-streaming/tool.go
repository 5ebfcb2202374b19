package main

import (
	"context"

	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/components/tool/utils"
)

// failed begins what a model is told of a tool that failed.
const failed = "error: "

// newTool makes a tool of a function. Its error is told to the model, which may
// do better, in place of ending the turn.
func newTool[In any](name, description string, f func(context.Context, In) (string, error)) (tool.BaseTool, error) {
	return utils.InferTool(name, description, func(ctx context.Context, in In) (string, error) {
		answer, err := f(ctx, in)
		if err != nil {
			return failed + err.Error(), nil
		}
		return answer, nil
	})
}
