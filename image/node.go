package image

import (
	"context"
	"github.com/isolde-run/isolde"
)

type node struct{}

func (*node) base(ctx context.Context, b *build) (layer, error) {
	return layer{}, isolde.Errorf(isolde.CodeUnsupported, "node")
}
func (*node) dependencies(ctx context.Context, b *build) (layer, error) { return layer{}, nil }
func (*node) code(ctx context.Context, b *build) (layer, error)         { return layer{}, nil }
func (*node) start(ctx context.Context, b *build) (start, error)        { return start{}, nil }
