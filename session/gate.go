package session

import "sync/atomic"

// gate admits requests to a session and counts those inside. It is the hot
// path of admission: two atomic operations a request, and no actor is woken.
// Once closed it admits nobody; those inside leave on their own.
type gate struct{ n atomic.Int64 }

const gateClosed = 1 << 62

// enter admits one request; false once the gate is closed.
func (g *gate) enter() bool {
	for {
		n := g.n.Load()
		if n&gateClosed != 0 {
			return false
		}
		if g.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *gate) leave() { g.n.Add(-1) }

// closeIfEmpty closes the gate unless somebody is inside, so that an idle
// session ends without a race against the request that arrives just now.
func (g *gate) closeIfEmpty() bool { return g.n.CompareAndSwap(0, gateClosed) }

func (g *gate) close() { g.n.Or(gateClosed) }

func (g *gate) inside() int { return int(g.n.Load() &^ gateClosed) }
