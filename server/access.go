package server

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
	"github.com/isolde-run/isolde/auth/gate"
	"github.com/isolde-run/isolde/auth/sigv4"
	"github.com/isolde-run/isolde/auth/spool"
	"github.com/isolde-run/isolde/identity"
	"github.com/isolde-run/isolde/objects"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/sandbox"
)

// The defaults of [Config.SpoolMemory] and [Config.SpoolDisk].
const (
	DefaultSpoolMemory = 256 << 20
	DefaultSpoolDisk   = 4 << 30
)

// Bounds of bodies that are held back as a whole, in bytes: what isolde deploy
// packs, and documents of S3, STS and IAM.
const (
	maxDeployment = 2 << 30
	maxDocument   = 4 << 20
)

// access asks for keys. Without keys it lets everybody through.
type access struct {
	keys     *auth.Keys
	agents   *gate.Gate            // AgentCore's both planes
	operator *gate.Gate            // Isolde's own API, console and metrics
	services map[string]*gate.Gate // S3, STS and IAM, by the name that requests are signed for
}

// newAccess makes what asks for the configuration's keys.
func (s *Server) newAccess(region string) (*access, error) {
	a := &access{keys: s.cfg.Keys}
	if a.keys == nil {
		return a, nil
	}
	memory, disk := cmp.Or(s.cfg.SpoolMemory, DefaultSpoolMemory), cmp.Or(s.cfg.SpoolDisk, DefaultSpoolDisk)
	folder := s.dir(tempDir)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	bodies, shares := spool.New(memory, disk, folder), gate.NewShares(memory+disk)
	open := func(v *sigv4.Verifier) *gate.Gate {
		v.Keys = a.keys
		return &gate.Gate{Verifier: v, Spool: bodies, Shares: shares}
	}
	const agentcore = "bedrock-agentcore" // both planes are signed for it
	a.agents = open(&sigv4.Verifier{Service: agentcore, Region: region})
	a.operator = open(&sigv4.Verifier{Service: agentcore, Region: region})
	a.operator.Password = true
	a.services = map[string]*gate.Gate{
		"sts": open(&sigv4.Verifier{Service: "sts"}),
		"iam": open(&sigv4.Verifier{Service: "iam"}),
		"s3":  open(&sigv4.Verifier{Service: "s3", S3: true, AllowUnsigned: !s.beyondLoopback()}),
	}
	return a, nil
}

// operatorOnly lets keys with the right operator through, and asks a browser
// for one where it may send it.
func (a *access) operatorOnly(next http.Handler) http.Handler {
	if a.keys == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admitted, err := a.operator.Admit(w, r, gate.Need{Right: auth.Operator, Limit: maxDeployment})
		if err == nil {
			defer admitted.Close()
			next.ServeHTTP(w, admitted.Request(r, false))
			return
		}
		switch e := isolde.AsError(err); e.Code {
		case isolde.CodeNoCredentials, isolde.CodeUnauthorized:
			if gate.Private(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="Isolde: access key id and secret", charset="UTF-8"`)
			}
			err = isolde.Errorf(isolde.CodeUnauthorized, "this server asks for a key with the right operator: %s", e.Message).
				WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to one; who runs the server makes it with: isolde keys add")
		}
		operator.WriteError(w, err)
	})
}

// serviceOnly lets callers of one of the AWS services beside AgentCore
// through. Everyone with a key may ask STS who they are.
func (a *access) serviceOnly(name string, next http.Handler) http.Handler {
	if a.keys == nil {
		return next
	}
	need := gate.Need{Right: auth.Control, Limit: maxDocument}
	refuse := identity.Refuse
	switch name {
	case "sts":
		need.Right = ""
	case "s3":
		refuse = objects.Refuse
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := need
		need.Streams = name == "s3" && storesAll(r)
		admitted, err := a.services[name].Admit(w, r, need)
		if err != nil {
			refuse(w, r, err)
			return
		}
		defer admitted.Close()
		next.ServeHTTP(w, admitted.Request(r, false))
	})
}

// storesAll says whether a request to S3 stores its whole body, as an object
// or a part of one. S3's documents, like all others, are held back until they
// were compared: who reads one may be content with its beginning.
func storesAll(r *http.Request) bool {
	if r.Method != http.MethodPut {
		return false
	}
	for name := range r.URL.Query() {
		switch lower := strings.ToLower(name); {
		case name == "uploadId", name == "partNumber", name == "x-id", strings.HasPrefix(lower, "x-amz-"):
		default:
			return false
		}
	}
	return true
}

// health answers GET /healthz, which asks for nothing: it tells that the
// server serves, and to clients how they have to sign.
func (a *access) health(l isolde.Locality) http.HandlerFunc {
	h := operator.Alive{Status: "ok", Authentication: operator.AuthNone, Region: l.Region}
	if a.keys != nil {
		h.Authentication = operator.AuthKeys
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(h) //nolint:errcheck // the caller is gone then
	}
}

// beyondLoopback says whether other machines can reach the server.
func (s *Server) beyondLoopback() bool {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	ip := net.ParseIP(host)
	return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// checkReach refuses to serve other machines what only this one may have.
func (s *Server) checkReach(driver sandbox.Driver) error {
	if !s.beyondLoopback() {
		return nil
	}
	if !driver.Capabilities().Isolated {
		return isolde.Errorf(isolde.CodeUnsupported, "refusing to listen on %s with the driver %s, which isolates nothing: whoever may deploy or run a command would have this machine", s.cfg.Listen, driver.Name()).
			WithHint("isolde doctor tells what the gvisor driver needs; or use --listen %s", DefaultListen)
	}
	if s.cfg.TLSCert == "" {
		s.cfg.Logger.Warn("bodies, tokens and answers travel in clear text between machines; signatures do not reveal the keys",
			"listen", s.cfg.Listen, "hint", "give the server a certificate (--tls-cert, --tls-key), or put a proxy with TLS before it")
	}
	return nil
}

// secure puts TLS on the listener, if there is a certificate. HTTP/2 is not
// offered: WebSockets and the handling of large bodies are HTTP/1.1's.
func (s *Server) secure() error {
	if s.cfg.TLSCert == "" && s.cfg.TLSKey == "" {
		return nil
	}
	c := &certificate{cert: s.cfg.TLSCert, key: s.cfg.TLSKey, log: s.cfg.Logger}
	if err := c.load(); err != nil {
		return isolde.Errorf(isolde.CodeNotConfigured, "cannot read the server's certificate: %w", err).
			WithHint("--tls-cert and --tls-key name PEM files, of the chain and of its key")
	}
	s.listener = tls.NewListener(s.listener, &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	return nil
}
