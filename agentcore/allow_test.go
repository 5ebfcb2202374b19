package agentcore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	datatypes "github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	controltypes "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/aws/smithy-go"
	"github.com/coder/websocket"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/auth"
)

// The keys of the tests, by what they may.
var (
	keyAll     = testKey("all", auth.AllRights)
	keyInvoke  = testKey("invoke", []auth.Right{auth.Invoke})
	keyControl = testKey("control", []auth.Right{auth.Control})
	keyOthers  = testKey("others", []auth.Right{auth.Invoke}, "support_*")
)

func testKey(name string, rights []auth.Right, runtimes ...string) *auth.Key {
	return &auth.Key{ID: "ISOL" + strings.ToUpper(name), Secret: auth.Secret("secret-of-" + name + "-0123456789"), Name: name, Rights: rights, Runtimes: runtimes}
}

// keyBed is a server that asks for the keys.
func keyBed(t *testing.T, agent http.Handler, binding agentcore.Binding) *bed {
	t.Helper()
	b := newBed(t, agent)
	b.keys, b.binding = []*auth.Key{keyAll, keyInvoke, keyControl, keyOthers}, binding
	b.serve(t)
	return b
}

func credentialsOf(k *auth.Key) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: string(k.Secret)}, nil
	})
}

// signed is how a request of a test is signed.
type signed struct {
	key     *auth.Key
	region  string // the server's if empty
	service string
	at      time.Time
	tellSum bool   // in X-Amz-Content-Sha256
	sum     string // that is signed; the body's if empty
	presign time.Duration
}

// sign signs a request with AWS's signer.
func (b *bed) sign(t *testing.T, req *http.Request, body []byte, s signed) *http.Request {
	t.Helper()
	if s.region == "" {
		s.region = b.locality.Region
	}
	if s.service == "" {
		s.service = "bedrock-agentcore"
	}
	if s.at.IsZero() {
		s.at = time.Now()
	}
	if s.sum == "" {
		sum := sha256.Sum256(body)
		s.sum = hex.EncodeToString(sum[:])
	}
	if s.tellSum {
		req.Header.Set("X-Amz-Content-Sha256", s.sum)
	}
	credentials := aws.Credentials{AccessKeyID: s.key.ID, SecretAccessKey: string(s.key.Secret)}
	if s.presign == 0 {
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, req, s.sum, s.service, s.region, s.at); err != nil {
			t.Fatal(err)
		}
		return req
	}
	q := req.URL.Query()
	q.Set("X-Amz-Expires", strconv.Itoa(int(s.presign.Seconds())))
	req.URL.RawQuery = q.Encode()
	uri, _, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, req, s.sum, s.service, s.region, s.at)
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequestWithContext(t.Context(), req.Method, uri, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func (b *bed) request(t *testing.T, method, path string, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func escape(s string) string { return url.PathEscape(s) }

func echoBody(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(w, r.Body)
}

func TestKeysAtTheDataPlane(t *testing.T) {
	reached := 0
	b := keyBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/invocations" {
			reached++
		}
		echoBody(w, r)
	}), "")
	path := "/runtimes/" + escape(b.arn) + "/invocations"
	wrongSecret := *keyAll
	wrongSecret.Secret = "another secret of twenty characters"
	unknown := testKey("nobody", auth.AllRights)
	small, large := []byte(`{"prompt":"hello"}`), bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	wrongSum := strings.Repeat("ab", 32)
	for _, test := range []struct {
		name      string
		sign      signed
		status    int
		exception string
	}{
		{"a key with the right", signed{key: keyInvoke}, 200, ""},
		{"with the hash told", signed{key: keyInvoke, tellSum: true}, 200, ""},
		{"presigned", signed{key: keyInvoke, presign: time.Hour}, 200, ""},
		{"none", signed{}, 403, "AccessDeniedException"},
		{"wrong secret", signed{key: &wrongSecret}, 403, "InvalidSignatureException"},
		{"wrong secret, hash told", signed{key: &wrongSecret, tellSum: true}, 403, "InvalidSignatureException"},
		{"unknown key", signed{key: unknown}, 403, "UnrecognizedClientException"},
		{"wrong region", signed{key: keyInvoke, region: "eu-west-1"}, 403, "InvalidSignatureException"},
		{"wrong service", signed{key: keyInvoke, service: "bedrock"}, 403, "InvalidSignatureException"},
		{"old", signed{key: keyInvoke, at: time.Now().Add(-time.Hour)}, 403, "InvalidSignatureException"},
		{"of the future", signed{key: keyInvoke, at: time.Now().Add(time.Hour)}, 403, "InvalidSignatureException"},
		{"another body, hash told", signed{key: keyInvoke, tellSum: true, sum: wrongSum}, 403, "InvalidSignatureException"},
		{"another body", signed{key: keyInvoke, sum: wrongSum}, 403, "InvalidSignatureException"},
		{"body not signed, without TLS", signed{key: keyInvoke, tellSum: true, sum: "UNSIGNED-PAYLOAD"}, 403, "InvalidSignatureException"},
		{"a key without the right", signed{key: keyControl}, 403, "AccessDeniedException"},
		{"a key for other runtimes", signed{key: keyOthers}, 403, "AccessDeniedException"},
	} {
		for size, body := range map[string][]byte{"small": small, "20 MB": large, "none": nil} {
			if size == "20 MB" && test.status != 200 && !strings.HasPrefix(test.name, "another body") || // refused unread, and package server's to read then
				size == "none" && strings.HasPrefix(test.name, "body not signed") {
				continue
			}
			before := reached
			req := b.request(t, http.MethodPost, path, body)
			if test.sign.key != nil {
				req = b.sign(t, req, body, test.sign)
			}
			if a := roundTrip(t, req); a.status != test.status || a.header.Get("X-Amzn-Errortype") != test.exception {
				t.Errorf("%s, body %s: %d %s %.300s; want %d %s", test.name, size, a.status, a.header.Get("X-Amzn-Errortype"), a.body, test.status, test.exception)
			} else if a.status == 200 && !bytes.Equal(a.body, body) {
				t.Errorf("%s, body %s: %d bytes came back", test.name, size, len(a.body))
			} else if a.header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: WWW-Authenticate %s", test.name, a.header.Get("WWW-Authenticate"))
			}
			if test.status != 200 && reached != before {
				t.Errorf("%s, body %s: the agent was called", test.name, size)
			}
		}
	}
}

func TestKeysAndOtherOperations(t *testing.T) {
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	runtime := "/runtimes/" + escape(b.arn)
	for _, test := range []struct {
		operation string
		may       *auth.Key
		status    int // with the right
	}{
		{"POST " + runtime + "/stopruntimesession", keyInvoke, 400},
		{"POST " + runtime + "/commands", keyAll, 400},
		{"GET " + runtime + "/ws", keyInvoke, 400},
		{"GET " + runtime + "/invocations/.well-known/agent-card.json", keyInvoke, 400},
		{"GET /runtimes/" + runtimeID(b) + "/", keyControl, 200},
		{"POST /runtimes/", keyControl, 200},
		{"PUT /runtimes/", keyControl, 400},
		{"GET /tags/" + escape(b.arn), keyControl, 200},
		{"GET /resourcepolicy/" + escape(b.arn), keyControl, 404},
		{"POST /runtimes/nothing/invocations", keyInvoke, 404},
		{"POST /runtimes/arn%3Aaws%3Anonsense/invocations", keyInvoke, 400},
	} {
		method, path, _ := strings.Cut(test.operation, " ")
		if a := b.do(t, method, path, nil); a.status != 403 {
			t.Errorf("%s without credentials: %d %s", test.operation, a.status, a.body)
		}
		if a := roundTrip(t, b.sign(t, b.request(t, method, path, nil), nil, signed{key: test.may})); a.status != test.status {
			t.Errorf("%s: %d %s; want %d", test.operation, a.status, a.body, test.status)
		}
		for _, k := range []*auth.Key{keyControl, keyInvoke} {
			if k == test.may {
				continue
			}
			if a := roundTrip(t, b.sign(t, b.request(t, method, path, nil), nil, signed{key: k})); a.status != 403 {
				t.Errorf("%s with key %s: %d %s", test.operation, k.Name, a.status, a.body)
			}
		}
	}
}

func runtimeID(b *bed) string { return b.arn[strings.LastIndexByte(b.arn, '/')+1:] }

func TestOnlyWhoMaySaysWhoTheUserIs(t *testing.T) {
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	path := "/runtimes/" + escape(b.arn) + "/invocations"
	for _, test := range []struct {
		name   string
		key    *auth.Key
		later  bool // the header is added to what was signed
		status int
	}{
		{"a key with the right", keyAll, false, 200},
		{"a key without", keyInvoke, false, 403},
		{"with a header that is not signed", keyAll, true, 403},
	} {
		req := b.request(t, http.MethodPost, path, []byte("{}"))
		if !test.later {
			req.Header.Set(agentcore.HeaderUser, "ada")
		}
		b.sign(t, req, []byte("{}"), signed{key: test.key})
		req.Header.Set(agentcore.HeaderUser, "ada")
		if a := roundTrip(t, req); a.status != test.status {
			t.Errorf("%s: %d %s", test.name, a.status, a.body)
		}
	}
}

// The SDK retries with a corrected clock after the exception.
func TestKeysAndTheSDK(t *testing.T) {
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	data := func(k *auth.Key) *bedrockagentcore.Client {
		return bedrockagentcore.New(bedrockagentcore.Options{Region: b.locality.Region, BaseEndpoint: aws.String(b.url), Credentials: credentialsOf(k)})
	}
	in := &bedrockagentcore.InvokeAgentRuntimeInput{AgentRuntimeArn: aws.String(b.arn), Payload: bytes.Repeat([]byte("x"), 1<<20)}
	out, err := data(keyInvoke).InvokeAgentRuntime(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out.Response); err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	out.Response.Close()
	_, err = data(keyControl).InvokeAgentRuntime(t.Context(), in)
	if denied := (*datatypes.AccessDeniedException)(nil); !errors.As(err, &denied) {
		t.Errorf("a key without the right: %v", err)
	}
	control := func(k *auth.Key) *bedrockagentcorecontrol.Client {
		return bedrockagentcorecontrol.New(bedrockagentcorecontrol.Options{Region: b.locality.Region, BaseEndpoint: aws.String(b.url), Credentials: credentialsOf(k)})
	}
	if _, err := control(keyControl).ListAgentRuntimes(t.Context(), &bedrockagentcorecontrol.ListAgentRuntimesInput{}); err != nil {
		t.Error(err)
	}
	_, err = control(keyInvoke).ListAgentRuntimes(t.Context(), &bedrockagentcorecontrol.ListAgentRuntimesInput{})
	if denied := (*controltypes.AccessDeniedException)(nil); !errors.As(err, &denied) {
		t.Errorf("a key without the right: %v", err)
	}
	wrong := *keyInvoke
	wrong.Secret = "another secret of twenty characters"
	_, err = data(&wrong).InvokeAgentRuntime(t.Context(), in)
	if api := smithy.APIError(nil); !errors.As(err, &api) || api.ErrorCode() != "InvalidSignatureException" {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestWebSocketsAskForCredentials(t *testing.T) {
	idp := newProvider(t)
	b := keyBed(t, socketAgent(t), "")
	path := strings.TrimSuffix(b.deploy(t, "guarded", isolde.VersionSpec{Authorizer: &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}}), "/invocations") + "/ws"
	token := idp.token(t, "agents", time.Hour)
	encoded := base64.RawURLEncoding.EncodeToString([]byte(token))
	own := "/runtimes/" + escape(b.arn) + "/ws"
	get := func(path string, s signed) (string, http.Header) {
		req := b.request(t, http.MethodGet, path, nil)
		if s.key != nil {
			req = b.sign(t, req, nil, s)
		}
		return req.URL.String(), req.Header
	}
	for _, test := range []struct {
		name    string
		path    string
		sign    signed
		header  http.Header
		offer   []string
		refused int
	}{
		{"signed headers", own, signed{key: keyInvoke}, nil, nil, 0},
		{"presigned", own + "?qualifier=DEFAULT", signed{key: keyInvoke, presign: 5 * time.Minute}, nil, nil, 0},
		{"presigned for too long", own, signed{key: keyInvoke, presign: 301 * time.Second}, nil, nil, 400},
		{"a bearer token", path, signed{}, http.Header{"Authorization": {"Bearer " + token}}, nil, 0},
		{"a token as subprotocol", path, signed{}, nil, []string{"base64UrlBearerAuthorization." + encoded, "base64UrlBearerAuthorization"}, 0},
		{"nothing", own, signed{}, nil, nil, 403},
		{"a token where keys are taken", own, signed{}, http.Header{"Authorization": {"Bearer " + token}}, nil, 403},
		{"a key where tokens are taken", path, signed{key: keyAll}, nil, nil, 401},
		{"nothing where tokens are taken", path, signed{}, nil, nil, 401},
	} {
		address, header := get(test.path, test.sign)
		maps.Copy(header, test.header)
		conn, resp, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPHeader: header, Subprotocols: test.offer})
		if test.refused != 0 {
			if err == nil || resp == nil || resp.StatusCode != test.refused {
				t.Errorf("%s: %v, %v", test.name, resp, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if len(test.offer) > 0 && conn.Subprotocol() != "base64UrlBearerAuthorization" {
			t.Errorf("%s: subprotocol %q", test.name, conn.Subprotocol())
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		read(t, conn) // the agent's greeting
		if got := read(t, conn); got != "hello" {
			t.Errorf("%s: %q", test.name, got)
		}
		_ = conn.CloseNow()
	}
}

// A presigned URL is handed to others, for what it says: whoever has it does
// not choose another session or another header of the agent's.
func TestPresignedRequestsAreWhatWasSigned(t *testing.T) {
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	own := "/runtimes/" + escape(b.arn) + "/invocations"
	session := string(isolde.NewSessionID())
	for _, test := range []struct {
		name, header, value string
		before              bool // it was signed
		want                int
	}{
		{"another session", agentcore.HeaderSession, string(isolde.NewSessionID()), false, 403},
		{"a header for the agent", "X-Amzn-Bedrock-Agentcore-Runtime-Custom-Tenant", "another", false, 403},
		{"its session", agentcore.HeaderSession, session, true, 200},
		{"a trace", "X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678", false, 200},
	} {
		req := b.request(t, "POST", own, []byte("{}"))
		if test.before {
			req.Header.Set(test.header, test.value)
		}
		req = b.sign(t, req, []byte("{}"), signed{key: keyInvoke, presign: 5 * time.Minute})
		req.Header.Set(test.header, test.value)
		if a := roundTrip(t, req); a.status != test.want {
			t.Errorf("%s: %d %s", test.name, a.status, a.body)
		}
	}
}

func TestSessionsOfTokensAreBoundToThem(t *testing.T) {
	idp := newProvider(t)
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	invocations := b.deploy(t, "guarded", isolde.VersionSpec{Authorizer: &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}})
	runtime := strings.TrimSuffix(invocations, "/invocations")
	session := string(isolde.NewSessionID())
	as := func(subject, method, path string) answer {
		req := b.request(t, method, path, []byte(`{"command":"true"}`))
		req.Header.Set("Authorization", "Bearer "+idp.tokenOf(t, subject, "agents", time.Hour))
		req.Header.Set(agentcore.HeaderSession, session)
		return roundTrip(t, req)
	}
	if a := as("ada", "POST", invocations); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, operation := range []string{"/invocations", "/commands", "/stopruntimesession"} {
		if a := as("bob", "POST", runtime+operation); a.status != 403 || a.header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
			t.Errorf("%s in another's session: %d %s", operation, a.status, a.body)
		}
	}
	b.binding = agentcore.BindNone
	b.serve(t)
	if a := as("bob", "POST", invocations); a.status != 200 {
		t.Errorf("sessions are not bound, and still: %d %s", a.status, a.body)
	}
}

// A version of the same agent runtime that asks for no token is no way into the
// sessions of those who have one.
func TestSessionsOfTokensAreNotEnteredByOthers(t *testing.T) {
	idp := newProvider(t)
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	b.deploy(t, "mixed", isolde.VersionSpec{})
	mixed, err := b.agents.Resolve(t.Context(), "mixed", "")
	if err == nil {
		_, err = b.agents.CreateEndpoint(t.Context(), "", isolde.Endpoint{Runtime: mixed.Runtime.ID, Name: "old"}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	invocations := b.deploy(t, "mixed", isolde.VersionSpec{Authorizer: &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}})
	runtime, session := strings.TrimSuffix(invocations, "/invocations"), string(isolde.NewSessionID())
	token := func(operation string) int {
		req := b.request(t, "POST", runtime+operation, []byte("{}"))
		req.Header.Set("Authorization", "Bearer "+idp.tokenOf(t, "ada", "agents", time.Hour))
		req.Header.Set(agentcore.HeaderSession, session)
		return roundTrip(t, req).status
	}
	key := func(operation string) int {
		req := b.request(t, "POST", runtime+operation+"?qualifier=old", []byte("{}"))
		req.Header.Set(agentcore.HeaderSession, session)
		if b.keys != nil {
			req = b.sign(t, req, []byte("{}"), signed{key: keyAll})
		}
		return roundTrip(t, req).status
	}
	if status := token("/invocations"); status != 200 {
		t.Fatal(status)
	}
	for _, keys := range [][]*auth.Key{b.keys, nil} {
		b.keys = keys
		b.serve(t)
		for _, operation := range []string{"/invocations", "/stopruntimesession"} {
			if status := key(operation); status != 403 {
				t.Errorf("%d keys, %s in the session of a token: %d", len(keys), operation, status)
			}
		}
	}
	if status := token("/stopruntimesession"); status != 200 {
		t.Fatal(status)
	}
	if status := key("/invocations"); status != 403 {
		t.Errorf("the session was stopped, and another began it anew: %d", status)
	}
}

func TestSessionsOfKeysAreBoundWhereAsked(t *testing.T) {
	for binding, want := range map[agentcore.Binding]int{"": 200, agentcore.BindAll: 403} {
		b := keyBed(t, http.HandlerFunc(echoBody), binding)
		session := string(isolde.NewSessionID())
		for _, k := range []*auth.Key{keyAll, keyInvoke} {
			req := b.request(t, "POST", "/runtimes/"+escape(b.arn)+"/invocations", []byte("{}"))
			req.Header.Set(agentcore.HeaderSession, session)
			a := roundTrip(t, b.sign(t, req, []byte("{}"), signed{key: k}))
			if k == keyInvoke && a.status != want || k == keyAll && a.status != 200 {
				t.Errorf("binding %q, key %s: %d %s", binding, k.Name, a.status, a.body)
			}
		}
	}
}

// An agent runtime says for itself whose its sessions are, whatever its server
// says of all.
func TestAgentRuntimesBindTheirSessions(t *testing.T) {
	idp := newProvider(t)
	b := keyBed(t, http.HandlerFunc(echoBody), "")
	yes, no := true, false
	authorizer := &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}
	for _, test := range []struct {
		name   string
		spec   isolde.VersionSpec
		server agentcore.Binding
		want   int // for another than who began the session
	}{
		{"keys_bound", isolde.VersionSpec{BindSessions: &yes}, agentcore.BindNone, 403},
		{"keys_unbound", isolde.VersionSpec{BindSessions: &no}, agentcore.BindAll, 200},
		{"tokens_bound", isolde.VersionSpec{BindSessions: &yes, Authorizer: authorizer}, agentcore.BindNone, 403},
		{"tokens_unbound", isolde.VersionSpec{BindSessions: &no, Authorizer: authorizer}, agentcore.BindAll, 200},
		{"silent", isolde.VersionSpec{}, agentcore.BindAll, 403},
	} {
		b.binding = test.server
		b.serve(t)
		invocations, session := b.deploy(t, test.name, test.spec), string(isolde.NewSessionID())
		for i, want := range []int{200, test.want} {
			req := b.request(t, "POST", invocations, []byte("{}"))
			req.Header.Set(agentcore.HeaderSession, session)
			if test.spec.Authorizer != nil {
				req.Header.Set("Authorization", "Bearer "+idp.tokenOf(t, []string{"ada", "bob"}[i], "agents", time.Hour))
			} else {
				req = b.sign(t, req, []byte("{}"), signed{key: []*auth.Key{keyAll, keyInvoke}[i]})
			}
			if a := roundTrip(t, req); a.status != want {
				t.Errorf("%s, caller %d: %d %s; want %d", test.name, i, a.status, a.body, want)
			}
		}
	}
}

// The token reaches the agent where the runtime names Authorization; a
// signature never does, as it is of no use to an agent.
func TestAuthorizationReachesAgentsThatMayHaveIt(t *testing.T) {
	idp := newProvider(t)
	b := keyBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}), "")
	authorizer := &isolde.Authorizer{JWT: &isolde.JWTAuthorizer{
		DiscoveryURL: idp.URL + "/.well-known/openid-configuration", AllowedAudience: []string{"agents"},
	}}
	token := "Bearer " + idp.token(t, "agents", time.Hour)
	for _, test := range []struct {
		name string
		spec isolde.VersionSpec
		want string
	}{
		{"named", isolde.VersionSpec{Authorizer: authorizer, RequestHeaders: []string{"Authorization"}}, token},
		{"unnamed", isolde.VersionSpec{Authorizer: authorizer}, ""},
		{"signed", isolde.VersionSpec{RequestHeaders: []string{"Authorization"}}, ""},
	} {
		req := b.request(t, "POST", b.deploy(t, test.name, test.spec), []byte("{}"))
		if test.spec.Authorizer != nil {
			req.Header.Set("Authorization", token)
		} else {
			req = b.sign(t, req, []byte("{}"), signed{key: keyInvoke})
		}
		if a := roundTrip(t, req); a.status != 200 || string(a.body) != test.want {
			t.Errorf("%s: %d, the agent got %q", test.name, a.status, a.body)
		}
	}
}
