package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"

	"github.com/isolde-run/isolde"
)

// A listedLink is a link whose policy is a list.
type listedLink struct {
	id     string
	addr   netip.Addr // the sandbox's
	policy *policy

	// slots bounds the questions that are answered at once.
	slots chan struct{}

	mu      sync.Mutex
	index   uint32                // of the interface; 0 until there is one
	logFile string                // where refusals are told; may be empty
	told    map[string]bool       // what was
	opened  map[opening]time.Time // until when
}

// What one link may hold at once of the server's memory and the kernel's.
const (
	maxQuestions = 16
	maxOpened    = 2048
	maxTold      = 100
)

// listRecord is what a new server must know of a listed link. The kernel
// knows the rest.
type listRecord struct {
	Allow   []string `json:"allow"`
	LogFile string   `json:"logFile,omitempty"`
}

func (r *Router) recordDir() string           { return filepath.Join(r.cfg.Dir, "policies") }
func (r *Router) recordPath(id string) string { return filepath.Join(r.recordDir(), id) }

func (r *Router) writeRecord(id string, record listRecord) error {
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.recordDir(), 0o700); err != nil {
		return err
	}
	path := r.recordPath(id)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// join makes a link that is about to be made one with a list, and returns its
// group.
func (r *Router) join(id string, addr netip.Addr, network isolde.Network) (group uint32, err error) {
	allow, err := network.Destinations()
	if err != nil {
		return 0, err
	}
	if err := r.startResolver(); err != nil {
		return 0, err
	}
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	p := r.policyOf(allow)
	if p == nil {
		group, ok := r.freeGroup()
		if !ok {
			return 0, isolde.Errorf(isolde.CodeQuota, "sessions use %d different egress lists, and there may be no more", len(r.policies))
		}
		p = newPolicy(group, allow)
		if err := r.changePolicies(func(c *nftables.Conn, t *nftables.Table, s listSets) error { return addPolicy(c, t, s, p) }); err != nil {
			return 0, fmt.Errorf("make policy: %w", err)
		}
		r.policies[group] = p
	}
	r.addListed(id, addr, p)
	if err := r.writeRecord(id, listRecord{Allow: network.Allow}); err != nil {
		return 0, fmt.Errorf("write policy: %w", err)
	}
	return p.group, nil
}

// addListed is for those who hold listsMu.
func (r *Router) addListed(id string, addr netip.Addr, p *policy) *listedLink {
	p.links++
	l := &listedLink{id: id, addr: addr, policy: p, slots: make(chan struct{}, maxQuestions), told: map[string]bool{}, opened: map[opening]time.Time{}}
	r.listed[id], r.listedBy[addr] = l, l
	return l
}

// policyOf finds the policy with exactly these destinations, which are in
// order. listsMu is held.
func (r *Router) policyOf(allow []isolde.Destination) *policy {
	for _, p := range r.policies {
		if slices.Equal(p.allow, allow) {
			return p
		}
	}
	return nil
}

func (r *Router) freeGroup() (group uint32, ok bool) {
	for n := uint32(1); n < groupListed; n++ {
		if _, used := r.policies[groupListed|n]; !used {
			return groupListed | n, true
		}
	}
	return 0, false
}

// leave undoes join, once the link is gone. Idempotent.
func (r *Router) leave(id string) error {
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	l := r.listed[id]
	if l == nil {
		return nil
	}
	if l.policy.links == 1 {
		err := r.changePolicies(func(c *nftables.Conn, t *nftables.Table, s listSets) error { return removePolicy(c, t, s, l.policy) })
		if err != nil {
			return fmt.Errorf("remove policy: %w", err)
		}
		delete(r.policies, l.policy.group)
	}
	l.policy.links--
	delete(r.listed, id)
	delete(r.listedBy, l.addr)
	if err := os.Remove(r.recordPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// changePolicies runs one transaction on the tables of lists.
func (r *Router) changePolicies(change func(*nftables.Conn, *nftables.Table, listSets) error) error {
	c, err := nftables.New(nftables.WithNetNSFd(r.ns.fd))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable})
	s, err := addListSets(c, t)
	if err != nil {
		return err
	}
	if err := change(c, t, s); err != nil {
		return err
	}
	return c.Flush()
}

// findListed takes up the listed links that find has found: their groups by
// id. A group is a list, so that a link whose record is lost has the list of
// the others in its group, and without others reaches nothing.
func (r *Router) findListed(groups map[string]uint32, indexes map[string]int) error {
	r.listsMu.Lock()
	records := map[string]listRecord{}
	for id, group := range groups {
		record, err := r.readRecord(id)
		if err != nil {
			r.log.Warn("the egress list of a session is lost", "sandbox", id, "err", err)
			continue
		}
		records[id] = record
		if r.policies[group] == nil {
			// Destinations that were written could be read.
			allow, _ := isolde.Network{Allow: record.Allow}.Destinations()
			r.policies[group] = newPolicy(group, allow)
		}
	}
	for id, group := range groups {
		if r.policies[group] == nil {
			r.policies[group] = newPolicy(group, nil)
		}
		if link := r.links[id]; link != nil {
			l := r.addListed(id, link.Addr, r.policies[group])
			l.index, l.logFile = uint32(indexes[id]), records[id].LogFile
		}
	}
	found := len(r.listed) > 0
	r.listsMu.Unlock()
	files, _ := os.ReadDir(r.recordDir())
	for _, f := range files {
		if _, ok := groups[f.Name()]; !ok {
			os.Remove(r.recordPath(f.Name()))
		}
	}
	if found {
		return r.startResolver()
	}
	return nil
}

func (r *Router) readRecord(id string) (record listRecord, err error) {
	b, err := os.ReadFile(r.recordPath(id))
	if err == nil {
		err = json.Unmarshal(b, &record)
	}
	return record, err
}

// ReportRefusals has the router append a line to a file for what the link's
// egress list refuses: each destination once, and at most 100. Links with
// another policy report nothing. The file is remembered by later servers, and
// not made if it is missing.
func (r *Router) ReportRefusals(id, file string) error {
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	l := r.listed[id]
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.logFile = file
	l.mu.Unlock()
	record := listRecord{LogFile: file}
	for _, d := range l.policy.allow {
		record.Allow = append(record.Allow, d.String())
	}
	if err := r.writeRecord(id, record); err != nil {
		return fmt.Errorf("report refusals of %s: %w", id, err)
	}
	return nil
}

// listedAt is the listed link with an address, or nil.
func (r *Router) listedAt(a netip.Addr) *listedLink {
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	return r.listedBy[a]
}

// tell appends a line on what was refused to the link's log.
func (l *listedLink) tell(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[line] || len(l.told) > maxTold {
		return
	}
	l.told[line] = true
	if len(l.told) > maxTold {
		line = "egress: more was refused, which is not listed"
	}
	f, err := os.OpenFile(l.logFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "isolde: %s\n", line)
}

func (l *listedLink) setIndex(index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index = uint32(index)
}

// listedByIndex are the listed links by the index of their interface.
func (r *Router) listedByIndex() map[uint32]*listedLink {
	r.listsMu.Lock()
	defer r.listsMu.Unlock()
	all := make(map[uint32]*listedLink, len(r.listed))
	for _, l := range r.listed {
		l.mu.Lock()
		all[l.index] = l
		l.mu.Unlock()
	}
	return all
}
