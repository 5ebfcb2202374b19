package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/sigv4"
	"github.com/isolde-run/isolde/auth/spool"
)

var key = &auth.Key{ID: "ISOLTEST", Secret: "a-secret-of-thirty-characters-1", Name: "test", Rights: []auth.Right{auth.Invoke}}

func newGate(t testing.TB, memory int64) *Gate {
	t.Helper()
	keys, err := auth.NewKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	return &Gate{Verifier: &sigv4.Verifier{Keys: keys, Service: "bedrock-agentcore"}, Spool: spool.New(memory, 0, ""), Password: true}
}

// request is one that is signed for a body, and has another if sent is not nil.
func request(t testing.TB, body, sent []byte, tell bool) *http.Request {
	t.Helper()
	if sent == nil {
		sent = body
	}
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/x", bytes.NewReader(sent))
	sum := sha256.Sum256(body)
	if tell {
		r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	}
	credentials := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: string(key.Secret)}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, hex.EncodeToString(sum[:]), "bedrock-agentcore", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

var need = Need{Right: auth.Invoke, Limit: isolde.MaxPayload}

// A handler that streams sees no end of a body that was not signed.
func TestStreamedBodiesEndWhenTheyWereCompared(t *testing.T) {
	g := newGate(t, 1<<20)
	for _, size := range []int{1, holdBack, holdBack + 1, 3*holdBack + 7, 1 << 20} {
		body := bytes.Repeat([]byte{'a'}, size)
		other := bytes.Clone(body)
		other[0] = 'b'
		n := need
		n.Streams = true
		for _, sent := range [][]byte{body, other} {
			a, err := g.Admit(httptest.NewRecorder(), request(t, body, sent, true), n)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(iotest.OneByteReader(a.body))
			if good := &sent[0] == &body[0]; good && (err != nil || !bytes.Equal(got, body)) {
				t.Errorf("%d bytes: %d came, %v", size, len(got), err)
			} else if !good && (isolde.CodeOf(err) != isolde.CodeSignature || len(got) > max(0, size-holdBack)) {
				t.Errorf("%d bytes of another body: %d came, %v", size, len(got), err)
			}
			a.Close()
		}
	}
}

func TestForeignBodiesDoNotFillTheSpool(t *testing.T) {
	const spoolSize = 8 * isolde.MaxPayload
	s := NewShares(spoolSize)
	at := func(address string) *http.Request { return &http.Request{RemoteAddr: address} }
	full := func(h *share) (n int64) {
		for h.take(n+1<<20+free) == nil {
			n += 1 << 20
		}
		return n
	}
	one := s.open("A", at("192.0.2.1:1"))
	if n := full(one); n > spoolSize/4 || n < spoolSize/4-2<<20 {
		t.Errorf("one address holds %d bytes of %d", n, spoolSize)
	}
	again := s.open("B", at("192.0.2.1:2"))
	if n := full(again); n != 0 {
		t.Errorf("another connection of that address holds %d more", n)
	}
	two := s.open("A", at("192.0.2.2:1"))
	full(two)
	three := s.open("A", at("192.0.2.3:1"))
	if n := full(three); n > 2<<20 {
		t.Errorf("a third address with the same key holds %d more", n)
	}
	other := s.open("B", at("[2001:db8::1]:1"))
	if n := full(other); n < spoolSize/4-2<<20 {
		t.Errorf("another key, at another address, gets only %d", n)
	}
	near := s.open("C", at("[2001:db8::2]:1"))
	if n := full(near); n != 0 {
		t.Errorf("another address of that network holds %d more", n)
	}
	for _, h := range []*share{one, again, two, three, other, near} {
		h.close()
	}
	if len(s.taken) != 0 {
		t.Errorf("left: %v", s.taken)
	}
}

// Whoever knows the id of a key can make it look as if its holder called.
func TestUnprovenCallersAreToldLittle(t *testing.T) {
	g := newGate(t, 1<<20)
	n := need
	n.Right = auth.Control
	body := []byte("body")
	_, err := g.Admit(httptest.NewRecorder(), request(t, body, nil, false), n)
	if isolde.CodeOf(err) != isolde.CodeDenied || strings.Contains(err.Error(), "invoke") {
		t.Errorf("not proven: %v", err)
	}
	_, err = g.Admit(httptest.NewRecorder(), request(t, body, nil, true), n)
	if isolde.CodeOf(err) != isolde.CodeDenied || !strings.Contains(err.Error(), "it has invoke") {
		t.Errorf("proven: %v", err)
	}
}

func TestBodiesThatDoNotArrive(t *testing.T) {
	g := newGate(t, 1<<20)
	for _, fault := range []error{io.ErrUnexpectedEOF, errors.New("reset")} {
		r := request(t, make([]byte, 100), nil, false)
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(fault)))
		if _, err := g.Admit(httptest.NewRecorder(), r, need); isolde.CodeOf(err) != isolde.CodeMalformed {
			t.Errorf("%v: %v", fault, err)
		}
	}
	n := need
	n.Limit = 50
	if _, err := g.Admit(httptest.NewRecorder(), request(t, make([]byte, 51), nil, true), n); isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := g.Admit(httptest.NewRecorder(), request(t, make([]byte, 2<<20), nil, true), need); isolde.CodeOf(err) != isolde.CodeThrottled {
		t.Errorf("over the spool: %v", err)
	}
	if a, err := g.Admit(httptest.NewRecorder(), request(t, make([]byte, 1<<20), nil, true), need); err != nil {
		t.Errorf("what was held before is held still: %v", err)
	} else {
		a.Close()
	}
}

func TestPasswordsInClearTextAreOfThisMachine(t *testing.T) {
	g := newGate(t, 1<<20)
	for address, want := range map[string]isolde.Code{"127.0.0.1:9": "", "[::1]:9": "", "192.0.2.1:9": isolde.CodeDenied, "": isolde.CodeDenied} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = address
		r.SetBasicAuth(key.ID, string(key.Secret))
		if _, err := g.Admit(httptest.NewRecorder(), r, need); isolde.CodeOf(err) != want {
			t.Errorf("from %q: %v", address, err)
		}
	}
}

// FuzzWithheld reads bodies in odd pieces.
func FuzzWithheld(f *testing.F) {
	f.Add([]byte("body"), uint16(1), 1, false)
	f.Add(bytes.Repeat([]byte("0123456789"), 20000), uint16(7), 4096, true)
	g := newGate(f, 1<<20)
	f.Fuzz(func(t *testing.T, body []byte, at uint16, piece int, change bool) {
		if len(body) == 0 || piece <= 0 || piece > 1<<20 {
			return
		}
		sent := bytes.Clone(body)
		if change {
			sent[int(at)%len(sent)] ^= 1
		}
		n := need
		n.Streams = true
		a, err := g.Admit(httptest.NewRecorder(), request(t, body, sent, true), n)
		if err != nil {
			t.Fatal(err)
		}
		got, buf := []byte(nil), make([]byte, piece)
		for err == nil {
			var m int
			m, err = a.body.Read(buf)
			got = append(got, buf[:m]...)
		}
		if !change && (!errors.Is(err, io.EOF) || !bytes.Equal(got, body)) || change && (errors.Is(err, io.EOF) || len(got) > max(0, len(body)-holdBack)) {
			t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
		}
	})
}
