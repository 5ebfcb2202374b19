package session

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// memoryStore is an isolde.SessionStore for tests.
type memoryStore struct {
	mu      sync.Mutex
	records map[isolde.SessionKey]isolde.Session
	deleted bool // the agent runtime is
}

func (st *memoryStore) PutSession(_ context.Context, s isolde.Session) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.deleted {
		return isolde.Errorf(isolde.CodeNotFound, "no agent runtime %q", s.Runtime)
	}
	if st.records == nil {
		st.records = make(map[isolde.SessionKey]isolde.Session)
	}
	st.records[s.Key()] = s
	return nil
}

func (st *memoryStore) Sessions(_ context.Context, _ isolde.RuntimeID, ended bool, _ int) ([]isolde.Session, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []isolde.Session
	for _, s := range st.records {
		if ended || s.EndedAt.IsZero() {
			out = append(out, s)
		}
	}
	return out, nil
}

func (st *memoryStore) SessionsByID(_ context.Context, id isolde.SessionID) ([]isolde.Session, error) {
	all, err := st.Sessions(context.Background(), "", true, 0)
	return slices.DeleteFunc(all, func(s isolde.Session) bool { return s.ID != id }), err
}

func (st *memoryStore) get(key isolde.SessionKey) isolde.Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.records[key]
}

// bed is a manager on a fake driver inside a synctest bubble.
type bed struct {
	t      *testing.T
	fake   *sandboxtest.Fake
	store  *memoryStore
	cfg    Config
	m      *Manager
	launch *Launch
}

var key = isolde.SessionKey{Runtime: "agent-0123456789", Session: "session-000000000000000000000000000001"}

func newBed(t *testing.T, script sandboxtest.Script) *bed {
	b := &bed{t: t, fake: &sandboxtest.Fake{}, store: &memoryStore{}}
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return script }
	b.cfg = Config{Driver: b.fake, Store: b.store, LogDir: t.TempDir()}
	b.launch = &Launch{Version: 3, Spec: sandbox.Spec{Ports: []int{8080}}}
	b.open()
	t.Cleanup(func() {
		b.m.Close()
		b.fake.StopAll()
	})
	return b
}

func (b *bed) open() {
	b.t.Helper()
	m, err := Open(b.t.Context(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.m = m
}

func (b *bed) acquire(key isolde.SessionKey) *Lease {
	b.t.Helper()
	l, err := b.m.Acquire(auth.Unbound(b.t.Context()), key, b.launch)
	if err != nil {
		b.t.Fatalf("acquire: %v", err)
	}
	return l
}

// invoke sends a request and returns the answer.
func (b *bed) invoke(key isolde.SessionKey, body string) string {
	b.t.Helper()
	l := b.acquire(key)
	defer l.Release()
	out, err := roundTrip(b.t.Context(), l, body)
	if err != nil {
		b.t.Fatalf("invoke: %v", err)
	}
	return out
}

func roundTrip(ctx context.Context, l *Lease, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/invocations", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := l.RoundTrip(req)
	if err != nil {
		return "", l.Failed(ctx, "request", "broke off", err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", l.Failed(ctx, "request", "broke off its answer", err)
	}
	return string(out), nil
}

func (b *bed) sandbox() *sandboxtest.FakeSandbox {
	b.t.Helper()
	all := b.fake.Sandboxes()
	if len(all) != 1 {
		b.t.Fatalf("%d sandboxes live, want 1", len(all))
	}
	return all[0]
}

// wantEnded checks that the session has ended and why.
func (b *bed) wantEnded(reason string) {
	b.t.Helper()
	synctest.Wait()
	if n := b.fake.Live(); n != 0 {
		b.t.Errorf("%d sandboxes live, want none", n)
	}
	if _, err := b.m.Session(key); isolde.CodeOf(err) != isolde.CodeNotFound {
		b.t.Errorf("session still there: %v", err)
	}
	if got := b.store.get(key); got.State != isolde.SessionStopped || got.EndedAt.IsZero() || !strings.Contains(got.EndReason, reason) {
		b.t.Errorf("record = %s, ended %v because it %q; want Stopped because it …%s…", got.State, got.EndedAt, got.EndReason, reason)
	}
}

func (b *bed) wantState(want isolde.SessionState) {
	b.t.Helper()
	synctest.Wait()
	s, err := b.m.Session(key)
	if err != nil || s.State != want {
		b.t.Errorf("state = %q, %v; want %s", s.State, err, want)
	}
}

func inBubble(t *testing.T, script sandboxtest.Script, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newBed(t, script)) })
}
