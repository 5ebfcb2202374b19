package auth

import "context"

// callContext is the context of a call whose caller is known. It passes
// AfterFunc on to the context it is made of, so that contexts derived from it
// need no goroutine to learn of its end.
type callContext struct {
	context.Context
	identity Identity
	known    bool // who is calling
	bound    bool
	free     bool
}

type identityKey struct{}

// NewContext is ctx with the identity of a caller. bound says that the
// sessions which the caller starts are its own; see [Owner].
func NewContext(ctx context.Context, i Identity, bound bool) context.Context {
	return &callContext{Context: ctx, identity: i, known: true, bound: bound}
}

// Unbound is ctx of a call that may enter every session, whoever it belongs
// to: the operator's, and everyone's where sessions belong to nobody.
func Unbound(ctx context.Context) context.Context {
	c := &callContext{Context: ctx, free: true}
	c.identity, c.known = FromContext(ctx)
	return c
}

// FromContext is the identity of the caller, and false where nobody was asked
// for one.
func FromContext(ctx context.Context) (Identity, bool) {
	if c, ok := ctx.Value(identityKey{}).(*callContext); ok {
		return c.identity, c.known
	}
	return Identity{}, false
}

// Owner is who the sessions that are started under ctx belong to, as
// [Identity.String] writes it. Empty: to nobody, and all may enter them.
func Owner(ctx context.Context) string {
	if c, ok := ctx.Value(identityKey{}).(*callContext); ok && c.bound {
		return c.identity.String()
	}
	return ""
}

// MayEnter says whether a session of that owner, as of [Owner], may be entered
// under ctx: it is nobody's, the caller's own, whether those it starts now are
// bound or not, or the call is [Unbound].
func MayEnter(ctx context.Context, owner string) bool {
	if owner == "" {
		return true
	}
	c, ok := ctx.Value(identityKey{}).(*callContext)
	return ok && (c.free || c.known && c.identity.String() == owner)
}

// IsUnbound says whether ctx is that of a call which may enter every session.
func IsUnbound(ctx context.Context) bool {
	c, ok := ctx.Value(identityKey{}).(*callContext)
	return ok && c.free
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
