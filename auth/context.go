package auth

import "context"

// callContext is the context of a call whose caller is known. It passes
// AfterFunc on to the context it is made of, so that contexts derived from it
// need no goroutine to learn of its end.
type callContext struct {
	context.Context
	identity Identity
	bound    bool
}

type identityKey struct{}

// NewContext is ctx with the identity of a caller. bound says that the
// sessions which the caller starts are its own; see [Owner].
func NewContext(ctx context.Context, i Identity, bound bool) context.Context {
	return &callContext{ctx, i, bound}
}

// FromContext is the identity of the caller, and false where nobody was asked
// for one.
func FromContext(ctx context.Context) (Identity, bool) {
	if c, ok := ctx.Value(identityKey{}).(*callContext); ok {
		return c.identity, true
	}
	return Identity{}, false
}

// Owner is who the sessions that are started under ctx belong to, as
// [Identity.String] writes it. Under ctx no session of another owner may be
// entered. Empty: sessions are not bound, and all may be entered.
func Owner(ctx context.Context) string {
	if c, ok := ctx.Value(identityKey{}).(*callContext); ok && c.bound {
		return c.identity.String()
	}
	return ""
}

// Value finds the call itself by the package's own key.
func (c *callContext) Value(key any) any {
	if key == (identityKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// AfterFunc is context.AfterFunc.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	if a, ok := c.Context.(interface{ AfterFunc(func()) func() bool }); ok {
		return a.AfterFunc(f)
	}
	return context.AfterFunc(c.Context, f)
}
