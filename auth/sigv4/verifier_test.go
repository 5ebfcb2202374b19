package sigv4

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth"
)

func TestAcceptsWhatTheSDKSigns(t *testing.T) {
	headers := http.Header{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {strings.Repeat("s", 40)}, "Content-Type": {"application/json"}}
	socket := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	raw := strings.NewReplacer("%3A", ":", "%2F", "/").Replace(address)
	for name, r := range map[string]*http.Request{
		"payload not told":      sign(t, "POST", address, `{"prompt":"hi"}`, headers, signing{}),
		"payload told":          sign(t, "POST", address, `{"prompt":"hi"}`, headers, signing{header: true}),
		"no body":               sign(t, "GET", address, "", nil, signing{}),
		"ARN not escaped":       sign(t, "GET", raw, "", nil, signing{}),
		"presigned":             sign(t, "GET", address, "", nil, signing{presign: maxPresigned}),
		"presigned for days":    sign(t, "GET", address, "", nil, signing{presign: maxPresigned, at: time.Now().Add(-6 * 24 * time.Hour)}),
		"presigned with a body": sign(t, "POST", address, "body", headers, signing{presign: time.Minute}),
		"presigned socket":      sign(t, "GET", address, "", socket, signing{presign: 300 * time.Second}),
		"token":                 sign(t, "POST", address, "x", nil, signing{token: "any"}),
		"presigned token":       sign(t, "GET", address, "", nil, signing{token: "any/+=", presign: time.Minute}),
		"clock behind":          sign(t, "GET", address, "", nil, signing{at: time.Now().Add(-MaxSkew + time.Minute)}),
		"clock ahead":           sign(t, "GET", address, "", nil, signing{at: time.Now().Add(MaxSkew - time.Minute)}),
	} {
		if who, err := verify(verifier(t), r); err != nil || who != "test" {
			t.Errorf("%s: %q, %v", name, who, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	now := time.Now()
	old := now.Add(-MaxSkew - time.Minute)
	with := func(r *http.Request, change func(r *http.Request)) *http.Request {
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		r    *http.Request
		code isolde.Code
		says []string
	}{
		"no credentials":    {served(t, httpRequest(t, "GET", address)), isolde.CodeNoCredentials, []string{"AWS_ACCESS_KEY_ID"}},
		"bearer token":      {with(httpRequest(t, "GET", address), func(r *http.Request) { r.Header.Set("Authorization", "Bearer x.y.z") }), isolde.CodeDenied, []string{`"Bearer"`, "SigV4"}},
		"wrong secret":      {sign(t, "GET", address, "", nil, signing{secret: "another secret of good length"}), isolde.CodeSignature, []string{keyID, "SHA-256"}},
		"wrong secret late": {sign(t, "POST", address, "x", nil, signing{secret: "another secret of good length"}), isolde.CodeSignature, []string{keyID, "SHA-256"}},
		"another service":   {sign(t, "GET", address, "", nil, signing{service: "s3"}), isolde.CodeSignature, []string{`"s3"`, `"bedrock-agentcore"`}},
		"another region":    {sign(t, "GET", address, "", nil, signing{region: "eu-west-1"}), isolde.CodeSignature, []string{`"eu-west-1"`, "AWS_REGION=us-east-1"}},
		"too old":           {sign(t, "GET", address, "", nil, signing{at: old}), isolde.CodeSignature, []string{old.UTC().Format(stampLayout), now.UTC().Format("20060102T15")}},
		"of the future":     {sign(t, "GET", address, "", nil, signing{at: now.Add(MaxSkew + time.Minute)}), isolde.CodeSignature, []string{"future"}},
		"expired":           {sign(t, "GET", address, "", nil, signing{presign: time.Minute, at: now.Add(-2 * time.Minute)}), isolde.CodeSignature, []string{"1m0s"}},
		"presigned too long": {
			sign(t, "GET", address, "", nil, signing{presign: maxPresigned + time.Second}),
			isolde.CodeMalformed,
			[]string{"604801", "604800"},
		},
		"socket too long": {
			sign(t, "GET", address, "", http.Header{"Upgrade": {"WebSocket"}}, signing{presign: 301 * time.Second}),
			isolde.CodeMalformed,
			[]string{"301", "300"},
		},
		"body not signed": {
			sign(t, "POST", address, "x", nil, signing{payload: unsignedPayload, header: true}),
			isolde.CodeSignature,
			[]string{"TLS"},
		},
		"streaming without S3": {
			sign(t, "POST", address, "x", nil, signing{payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", header: true}),
			isolde.CodeMalformed,
			[]string{"STREAMING"},
		},
		"another body told": {with(sign(t, "POST", address, "right", nil, signing{header: true}), setBody("wrong")), isolde.CodeSignature, []string{"SHA-256"}},
		"another body":      {with(sign(t, "POST", address, "right", nil, signing{}), setBody("wrong")), isolde.CodeSignature, []string{"SHA-256"}},
		"unknown key":       {with(sign(t, "GET", address, "", nil, signing{}), rename("AKIDOTHER")), isolde.CodeUnknownKey, []string{"AKIDOTHER"}},
		"two Authorizations": {with(sign(t, "GET", address, "", nil, signing{}), func(r *http.Request) {
			r.Header.Add("Authorization", "Bearer x")
		}), isolde.CodeMalformed, []string{"2"}},
		"header and query": {with(sign(t, "GET", address, "", nil, signing{presign: time.Minute}), func(r *http.Request) {
			r.Header.Set("Authorization", algorithm+" Credential=x")
		}), isolde.CodeMalformed, []string{"twice"}},
		"date of another day": {with(sign(t, "GET", address, "", nil, signing{}), func(r *http.Request) {
			r.Header.Set("X-Amz-Date", now.AddDate(0, 0, 1).UTC().Format(stampLayout))
		}), isolde.CodeMalformed, []string{"day"}},
		"two dates": {with(sign(t, "GET", address, "", nil, signing{}), func(r *http.Request) {
			r.Header.Add("X-Amz-Date", r.Header.Get("X-Amz-Date"))
		}), isolde.CodeMalformed, []string{"2 X-Amz-Date"}},
		"another algorithm": {with(sign(t, "GET", address, "", nil, signing{presign: time.Minute}), func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "HMAC", "ECDSA", 1)
		}), isolde.CodeMalformed, []string{"ECDSA"}},
		"two signatures": {with(sign(t, "GET", address, "", nil, signing{presign: time.Minute}), func(r *http.Request) {
			r.URL.RawQuery += "&X-Amz-Signature=" + strings.Repeat("0", 64)
		}), isolde.CodeMalformed, []string{"2 times"}},
		"signed header missing": {with(sign(t, "GET", address, "", http.Header{"X-Custom": {"v"}}, signing{}), func(r *http.Request) {
			r.Header.Del("X-Custom")
		}), isolde.CodeMalformed, []string{"x-custom", "proxy"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, verifier(t), c.r, c.code, c.says...) })
	}
}

func TestParseAuthorizationRefuses(t *testing.T) {
	good := "Credential=ID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0a", 32)
	if c, err := parseAuthorization(algorithm + " " + good); err != nil || c.scope != (scope{"ID", "20260101", "us-east-1", "s3"}) {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err := parseAuthorization(algorithm + " " + strings.ReplaceAll(strings.Replace(good, "=ID", "=I/D", 1), ", ", ",")); err != nil || c.keyID != "I/D" {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, s := range []string{
		"", "AWS4-HMAC-SHA256", algorithm + " ", "AWS4-ECDSA-P256-SHA256 " + good, "Basic eDp5",
		algorithm + " " + good + ", Signature=" + strings.Repeat("0a", 32),
		algorithm + " " + good + ", Extra=1",
		algorithm + " " + strings.Replace(good, "aws4_request", "aws5_request", 1),
		algorithm + " " + strings.Replace(good, "ID/20260101/us-east-1/", "ID/", 1),
		algorithm + " " + strings.Replace(good, "host;", "", 1),
		algorithm + " " + strings.Replace(good, "host;x-amz-date", "x-amz-date;host", 1),
		algorithm + " " + strings.Replace(good, "host;", "host;host;", 1),
		algorithm + " " + strings.Replace(good, "host;", "Host;", 1),
		algorithm + " " + strings.Replace(good, "host;", "host;;", 1),
		algorithm + " " + strings.Replace(good, "0a0a", "0a", 1),
		algorithm + " " + strings.Replace(good, "0a0a", "0g0g", 1),
		algorithm + " " + good + strings.Repeat(" ", maxAuthorization),
	} {
		if c, err := parseAuthorization(s); err == nil {
			t.Errorf("%q gave %+v", s, c)
		}
	}
}

func TestSecurityToken(t *testing.T) {
	keys, err := auth.NewKeys(&auth.Key{ID: keyID, Secret: secret, SessionToken: "the-token", Name: "test", Rights: auth.AllRights})
	if err != nil {
		t.Fatal(err)
	}
	v := &Verifier{Keys: keys, Service: service, Region: region}
	for _, presign := range []time.Duration{0, time.Minute} {
		if _, err := verify(v, sign(t, "GET", address, "", nil, signing{token: "the-token", presign: presign})); err != nil {
			t.Error(err)
		}
		refused(t, v, sign(t, "GET", address, "", nil, signing{token: "another", presign: presign}), isolde.CodeUnknownKey, "token")
		refused(t, v, sign(t, "GET", address, "", nil, signing{presign: presign}), isolde.CodeUnknownKey, "token")
	}
}

func TestS3(t *testing.T) {
	v := verifier(t)
	v.Service, v.S3 = "s3", true
	const object = "http://127.0.0.1:4765/bucket/a%20key%2Bwith%3Aall/%C3%A9?versionId=1"
	s3 := signing{service: "s3", s3: true, header: true}
	if _, err := verify(v, sign(t, "PUT", object, "body", nil, s3)); err != nil {
		t.Errorf("signed body: %v", err)
	}
	twice := s3
	twice.s3 = false
	refused(t, v, sign(t, "PUT", object, "body", nil, twice), isolde.CodeSignature)
	for _, payload := range []string{unsignedPayload, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"} {
		s3.payload = payload
		r := sign(t, "PUT", object, "body", nil, s3)
		refused(t, v, r, isolde.CodeSignature, "TLS")
		r.TLS = &tls.ConnectionState{}
		if _, err := verify(v, r); err != nil {
			t.Errorf("%s over TLS: %v", payload, err)
		}
	}
	v.AllowUnsigned = true
	if _, err := verify(v, sign(t, "PUT", object, "body", nil, s3)); err != nil {
		t.Errorf("body not signed, allowed: %v", err)
	}
	v.AllowUnsigned = false
	presigned := signing{service: "s3", s3: true, payload: unsignedPayload, presign: time.Hour}
	if _, err := verify(v, sign(t, "GET", object, "", nil, presigned)); err != nil {
		t.Errorf("presigned: %v", err)
	}
}

// TestPending tells what is known when.
func TestPending(t *testing.T) {
	for name, c := range map[string]struct {
		r               *http.Request
		needs, declared bool
	}{
		"told":     {sign(t, "POST", address, "x", nil, signing{header: true}), false, true},
		"not told": {sign(t, "POST", address, "x", nil, signing{}), true, false},
		"empty":    {sign(t, "POST", address, "", nil, signing{}), false, true},
	} {
		p, err := verifier(t).Begin(c.r)
		if err != nil {
			t.Fatal(err)
		}
		if _, declared := p.BodySHA256(); p.NeedsBody() != c.needs || declared != c.declared || p.Identity().KeyID != keyID {
			t.Errorf("%s: needs body %t, declared %t, identity %v", name, p.NeedsBody(), declared, p.Identity())
		}
	}
}

// TestChangedSecret: a signing key that is remembered goes with its secret.
func TestChangedSecret(t *testing.T) {
	v := verifier(t)
	if _, err := verify(v, sign(t, "GET", address, "", nil, signing{})); err != nil {
		t.Fatal(err)
	}
	const other = "the-secret-that-came-after"
	keys, err := auth.NewKeys(&auth.Key{ID: keyID, Secret: other, Name: "test", Rights: auth.AllRights})
	if err != nil {
		t.Fatal(err)
	}
	v.Keys = keys
	refused(t, v, sign(t, "GET", address, "", nil, signing{}), isolde.CodeSignature)
	if _, err := verify(v, sign(t, "GET", address, "", nil, signing{secret: other})); err != nil {
		t.Error(err)
	}
}
