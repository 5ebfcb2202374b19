package image

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// certificates is where images have their certificate authorities.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// certificateFiles are where systems keep theirs: Debian, Fedora, openSUSE,
// RHEL, Alpine.
var certificateFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

const zones = "usr/share/zoneinfo"

// skeleton is what every image has: users, name service configuration, empty
// places for what a driver mounts, certificates, time zones, and a shell with
// its usual tools. Nothing else of the host gets in.
func skeleton() (tree, error) {
	t := tree{}
	for _, name := range []string{"dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "sys", "usr", "usr/local", "usr/local/bin", "var"} {
		t.dir(name, 0o755, 0)
	}
	t.dir("root", 0o700, 0)
	t.dir("tmp", fs.ModeSticky|0o777, 0)
	t.dir("var/tmp", fs.ModeSticky|0o777, 0)
	t.dir(agentHome, 0o755, agentID)
	t.dir(codeDir, 0o755, agentID)
	for name, content := range map[string]string{
		"etc/passwd": fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\n%s:x:%d:%d:%s:/%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
			agentName, agentID, agentID, agentName, agentHome),
		"etc/group":         fmt.Sprintf("root:x:0:\n%s:x:%d:\nnogroup:x:65534:\n", agentName, agentID),
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"etc/hosts":         "",
		"etc/resolv.conf":   "",
	} {
		t.bytes(name, []byte(content), 0o644)
	}
	t.certificates()
	t.tools()
	return t, t.zones()
}

// certificates adds the host's certificate authorities under the names that
// OpenSSL builds and Go look for.
func (t tree) certificates() {
	for _, from := range certificateFiles {
		if info, err := os.Stat(from); err == nil && info.Mode().IsRegular() {
			t.file(certificates, from, 0o644)
			for _, alias := range []string{"etc/ssl/cert.pem", "usr/lib/ssl/cert.pem", "etc/pki/tls/cert.pem", "etc/pki/tls/certs/ca-bundle.crt"} {
				t.link(alias, "/"+certificates)
			}
			return
		}
	}
}

func (t tree) zones() error {
	if !exists("/" + zones) {
		return nil
	}
	return t.folder(zones, "/"+zones, 0, func(name string, _ fs.DirEntry) bool {
		// The same zones again, with leap seconds and without.
		return name != "right" && name != "posix" && name != "localtime" && name != "posixrules"
	})
}

// fingerprint tells trees apart by where their content comes from and when
// that changed, without reading it.
func (t tree) fingerprint() (string, error) {
	parts := make([]string, 0, len(t))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		part := fmt.Sprintf("%s %o %d %s %s", name, e.mode, e.owner, e.target, e.data)
		if e.from != "" {
			info, err := os.Stat(e.from)
			if err != nil {
				return "", err
			}
			part += fmt.Sprintf(" %s %d %d", e.from, info.Size(), info.ModTime().UnixNano())
		}
		parts = append(parts, part)
	}
	return key(strings.Join(parts, "\n")), nil
}

// hosts remembers, for a minute, what was found out about this machine's
// interpreters, which takes longer than all else in a build of changed code.
type hosts struct {
	mu    sync.Mutex
	found map[string]hostFinding
}

type hostFinding struct {
	value any
	until time.Time
}

// remembered returns what find found for name in the last minute, or finds it.
func remembered[T any](s *Store, name string, find func() (T, error)) (T, error) {
	s.hosts.mu.Lock()
	defer s.hosts.mu.Unlock()
	if known, ok := s.hosts.found[name]; ok && time.Now().Before(known.until) {
		return known.value.(T), nil
	}
	value, err := find()
	if err != nil {
		return value, err
	}
	if s.hosts.found == nil {
		s.hosts.found = map[string]hostFinding{}
	}
	s.hosts.found[name] = hostFinding{value, time.Now().Add(time.Minute)}
	return value, nil
}

// plan is a base layer that may have to be made.
type plan struct {
	tree tree
	key  string
}

func newPlan(t tree, inputs ...string) (*plan, error) {
	sum, err := t.fingerprint()
	if err != nil {
		return nil, err
	}
	return &plan{t, key(append(inputs, sum)...)}, nil
}

// keepBase makes a planned base layer unless it is there. finish may add to
// the tree, with files in the temporary folder it is given.
func (b *build) keepBase(ctx context.Context, what string, p *plan, finish func(ctx context.Context, t tree, tmp string) error) (layer, error) {
	l, cached, err := b.keyed(ctx, "base", p.key, nil, func(ctx context.Context) (layer, error) {
		t := maps.Clone(p.tree)
		tmp, err := os.MkdirTemp(b.tmp, "base-")
		if err != nil {
			return layer{}, err
		}
		defer os.RemoveAll(tmp)
		if finish != nil {
			b.report.say("base", false, "preparing %s of this machine", what)
			if err := finish(ctx, t, tmp); err != nil {
				return layer{}, err
			}
		}
		return b.writeLayer(ctx, t)
	})
	if err != nil {
		return layer{}, err
	}
	b.report.say("base", cached, "%s, %s", what, megabytes(l.Size))
	return l, nil
}
