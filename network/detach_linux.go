package network

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// remover removes links of the router's namespace. To remove one takes the
// kernel 25 ms, during which no link of the machine can be made, and to remove
// many at once takes no longer: so those that come meanwhile wait for the
// next round together.
type remover struct {
	mu   sync.Mutex
	next *removal // takes those who come; nil until somebody does

	round sync.Mutex // held by the one that removes
}

type removal struct {
	links []netlink.Link
	done  chan struct{} // closed when err is set
	err   error
}

// remove removes a link, and returns when it is gone.
func (m *remover) remove(r *Router, l netlink.Link) error {
	m.mu.Lock()
	mine, first := m.next, false
	if mine == nil {
		mine, first = &removal{done: make(chan struct{})}, true
		m.next = mine
	}
	mine.links = append(mine.links, l)
	m.mu.Unlock()
	if !first {
		<-mine.done
		return mine.err
	}
	m.round.Lock()
	defer m.round.Unlock()
	m.mu.Lock()
	m.next = nil // whoever comes now belongs to the next round
	m.mu.Unlock()
	mine.err = r.removeLinks(mine.links)
	close(mine.done)
	return mine.err
}

// removeLinks removes links in one step, by making a group of them.
func (r *Router) removeLinks(links []netlink.Link) error {
	var errs []error
	for _, l := range links {
		if err := r.handle.LinkSetGroup(l, groupGone); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("mark link as gone: %w", err))
		}
	}
	err := r.ns.do(func() error {
		request := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		request.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(groupGone)))
		_, err := request.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		errs = append(errs, fmt.Errorf("remove links: %w", err))
	}
	return errors.Join(errs...)
}
