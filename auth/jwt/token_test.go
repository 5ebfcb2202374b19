package jwt

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
)

func request(headers ...string) *http.Request {
	r := &http.Request{Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestFromRequest(t *testing.T) {
	offer := Subprotocol + "." + base64.RawURLEncoding.EncodeToString([]byte("a.b.c"))
	for name, c := range map[string]struct {
		r    *http.Request
		want Token
		none bool // fails with ErrNoToken
		bad  bool // fails with another
	}{
		"header":               {r: request("Authorization", "Bearer a.b.c"), want: Token{Text: "a.b.c"}},
		"lower case":           {r: request("Authorization", "bearer  a.b.c "), want: Token{Text: "a.b.c"}},
		"subprotocol":          {r: request("Sec-WebSocket-Protocol", offer+", "+Subprotocol), want: Token{"a.b.c", Subprotocol}},
		"two lines":            {r: request("Sec-WebSocket-Protocol", Subprotocol, "Sec-WebSocket-Protocol", offer), want: Token{"a.b.c", Subprotocol}},
		"nothing to answer":    {r: request("Sec-WebSocket-Protocol", offer), want: Token{"a.b.c", ""}},
		"padded":               {r: request("Sec-WebSocket-Protocol", Subprotocol+"."+base64.URLEncoding.EncodeToString([]byte("a.b.c"))), want: Token{"a.b.c", ""}},
		"header first":         {r: request("Authorization", "Bearer x", "Sec-WebSocket-Protocol", offer), want: Token{"x", ""}},
		"nothing":              {r: request(), none: true},
		"SigV4":                {r: request("Authorization", "AWS4-HMAC-SHA256 Credential=x"), none: true},
		"another subprotocol":  {r: request("Sec-WebSocket-Protocol", "graphql-ws"), none: true},
		"empty":                {r: request("Authorization", "Bearer "), bad: true},
		"two headers":          {r: request("Authorization", "Bearer x", "Authorization", "Bearer y"), bad: true},
		"two tokens":           {r: request("Sec-WebSocket-Protocol", offer+","+offer), bad: true},
		"long":                 {r: request("Authorization", "Bearer "+strings.Repeat("x", maxToken+1)), bad: true},
		"long in subprotocol":  {r: request("Sec-WebSocket-Protocol", Subprotocol+"."+strings.Repeat("x", maxEncodedToken+1)), bad: true},
		"odd in subprotocol":   {r: request("Sec-WebSocket-Protocol", Subprotocol+".a*b"), bad: true},
		"empty in subprotocol": {r: request("Sec-WebSocket-Protocol", Subprotocol+".="), bad: true},
	} {
		got, err := FromRequest(c.r)
		if got != c.want || (err != nil) != (c.none || c.bad) || errors.Is(err, ErrNoToken) != c.none ||
			err != nil && isolde.CodeOf(err) != isolde.CodeUnauthorized {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzFromRequest(f *testing.F) {
	f.Add("Bearer a.b.c", "")
	f.Add("", Subprotocol+".YQ, "+Subprotocol)
	f.Fuzz(func(t *testing.T, authorization, protocol string) {
		r := request()
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("Sec-WebSocket-Protocol", protocol)
		got, err := FromRequest(r)
		if (err == nil) != (got.Text != "") || len(got.Text) > maxToken || len(Challenge(err, "u", nil)) > 1000 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestChallenge(t *testing.T) {
	const at = "https://a.example/m?qualifier=DEFAULT"
	_, none := FromRequest(request())
	for want, err := range map[string]error{
		`Bearer resource_metadata="https://a.example/m?qualifier=DEFAULT"`:                                                                                   none,
		`Bearer resource_metadata="https://a.example/m?qualifier=DEFAULT", error="invalid_token", error_description="the token 'x??' is bad"`:                invalid("the token \"xé\n\" is bad").WithHint("not this"),
		`Bearer resource_metadata="https://a.example/m?qualifier=DEFAULT", error="insufficient_scope", error_description="too little", scope="invoke admin"`: insufficient("too little"),
		"": isolde.Errorf(isolde.CodeUnavailable, "x"),
	} {
		if got := Challenge(err, at, []string{"invoke", "admin"}); got != want {
			t.Errorf("%v gave\n%s, want\n%s", err, got, want)
		}
	}
}

func TestURLs(t *testing.T) {
	for at, ok := range map[string]bool{
		"https://idp.example/.well-known/openid-configuration": true,
		"https://10.0.0.7/x":              true,
		"http://127.0.0.1:8080/x":         true,
		"http://[::1]/x":                  true,
		"http://idp.localhost:8080/x":     true,
		"http://idp.example/x":            false,
		"http://10.0.0.7/x":               false,
		"https://user:pw@idp.example/x":   false,
		"https:///x":                      false,
		"ftp://idp.example/x":             false,
		"https://169.254.169.254/x":       false,
		"https://[fe80::1]/x":             false,
		"https://[::ffff:169.254.1.1]/x":  false,
		"https://[64:ff9b::a9fe:a9fe]/x":  false,
		"https://[fd00:ec2::254]/x":       false,
		"https://100.100.100.200/x":       false,
		"https://0.0.0.0/x":               false,
		"https://224.0.0.1/x":             false,
		"http://127.0.0.1.evil.example/x": false,
		"https://idp.example/x#y":         false,
	} {
		if err := checkURL(at); (err == nil) != ok {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestDialsNoForbiddenAddress: what a name resolves to counts, at the moment
// of the connection.
func TestDialsNoForbiddenAddress(t *testing.T) {
	for _, at := range []string{"169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80"} {
		if conn, err := dial(t.Context(), "tcp", at); err == nil || !strings.Contains(err.Error(), "not one of a provider") {
			t.Errorf("%s: %v, %v", at, conn, err)
		}
	}
}

// TestDialsNoNameOfLoopback: a name that anyone may make for 127.0.0.1 is not
// "localhost", for which http is fine.
func TestDialsNoNameOfLoopback(t *testing.T) {
	for host, ok := range map[string]bool{"localhost": true, "127.0.0.1": true, "idp.localhost": true, "localhost.evil.example": false, "idp.example": false} {
		for _, resolved := range []string{"127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.2]:443"} {
			if err := checkDial(host, resolved); (err == nil) != ok {
				t.Errorf("%s as %s: %v", host, resolved, err)
			}
		}
	}
}

func TestFollowsNoRedirect(t *testing.T) {
	hit := false
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit = true }))
	defer target.Close()
	from := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	defer from.Close()
	err := fetch(t.Context(), newClient(), from.URL, new(any))
	if err == nil || !strings.Contains(err.Error(), "redirects") || hit {
		t.Errorf("%v, followed %t", err, hit)
	}
}

func TestCheck(t *testing.T) {
	good := func() *isolde.JWTAuthorizer {
		return &isolde.JWTAuthorizer{DiscoveryURL: "https://idp.example/.well-known/openid-configuration", AllowedClients: []string{"x"}}
	}
	if err := Check(good()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(a *isolde.JWTAuthorizer)
		code   isolde.Code
	}{
		"http":       {func(a *isolde.JWTAuthorizer) { a.DiscoveryURL = "http://idp.example/" }, isolde.CodeInvalid},
		"everyone":   {func(a *isolde.JWTAuthorizer) { a.AllowedClients = nil }, isolde.CodeInvalid},
		"workloads":  {func(a *isolde.JWTAuthorizer) { a.AllowedWorkloads = &isolde.AllowedWorkloads{} }, isolde.CodeUnsupported},
		"private":    {func(a *isolde.JWTAuthorizer) { a.PrivateEndpoint = &isolde.PrivateEndpoint{} }, isolde.CodeUnsupported},
		"claim rule": {func(a *isolde.JWTAuthorizer) { a.CustomClaims = []isolde.ClaimRule{{Name: "n", Type: "STRING"}} }, isolde.CodeInvalid},
	} {
		a := good()
		c.change(a)
		if err := Check(a); isolde.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
