package gate

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/isolde-run/isolde"
)

// Shares bound how much of a spool is held for callers who are not proven
// yet: those of one access key, which an attacker may have read somewhere, and those at one
// address. A caller who tells the body's hash beforehand is proven, and needs no share.
type Shares struct {
	perKey, perPeer int64

	mu    sync.Mutex
	taken map[string]int64 // bytes, by key id or address
}

// free is what a caller may hold without a share, as the spool itself does not
// count it either.
const free = 64 << 10

// NewShares divides a spool of that many bytes: half of it at most for one
// key, a quarter for one address, but one body of the largest size to either in any case.
func NewShares(spool int64) *Shares {
	return &Shares{
		perKey: max(spool/2, isolde.MaxPayload), perPeer: max(spool/4, isolde.MaxPayload),
		taken: make(map[string]int64),
	}
}

// share is what one body holds.
type share struct {
	of        *Shares
	key, peer string // the peer is empty for one that is not bounded
	held      int64
}

func (s *Shares) open(keyID string, r *http.Request) *share {
	return &share{of: s, key: "key " + keyID, peer: peer(r.RemoteAddr)}
}

// peer is the address of a client, of IPv6 the network that one client has.
// All clients of a proxy on this machine have its address, so that loopback is nobody's.
func peer(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return ""
	}
	ip, err := netip.ParseAddr(host)
	switch ip = ip.Unmap().WithZone(""); {
	case err != nil || ip.IsLoopback():
		return ""
	case ip.Is6():
		network, _ := ip.Prefix(64) // fits
		return network.String()
	}
	return ip.String()
}

// take makes the share as large as n bytes.
func (h *share) take(n int64) error {
	more := n - free - h.held
	if more <= 0 {
		return nil
	}
	s := h.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[h.key]+more > s.perKey || h.peer != "" && s.taken[h.peer]+more > s.perPeer {
		return isolde.Errorf(isolde.CodeThrottled, "too much is under way that nobody has signed for yet").
			WithHint("send it again in a moment; clients that send X-Amz-Content-Sha256 do not wait for others")
	}
	h.held += more
	s.taken[h.key] += more
	if h.peer != "" {
		s.taken[h.peer] += more
	}
	return nil
}

func (h *share) close() {
	s := h.of
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{h.key, h.peer} {
		if s.taken[name] -= h.held; s.taken[name] <= 0 {
			delete(s.taken, name)
		}
	}
	h.held = 0
}
