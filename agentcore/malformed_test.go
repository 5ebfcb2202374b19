package agentcore_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/agentcore"
)

// TestMalformedBodies sends what no SDK would, and wants to hear of the field
// and of what was expected.
func TestMalformedBodies(t *testing.T) {
	b := newBed(t, nil)
	const good = `"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"x"}}`
	for _, test := range []struct {
		name, body string
		reason     string
		message    string // part of it; the fields' names and messages are in it
		fields     []string
	}{
		{"empty", ``, "FieldValidationFailed", "agentRuntimeName is missing", []string{"agentRuntimeName", "agentRuntimeArtifact", "roleArn"}},
		{"empty object", `{}`, "FieldValidationFailed", "roleArn is missing", []string{"agentRuntimeName", "agentRuntimeArtifact", "roleArn"}},
		{"nulls", `{"agentRuntimeName":null,"description":null}`, "FieldValidationFailed", "agentRuntimeArtifact is missing", []string{"agentRuntimeName", "agentRuntimeArtifact", "roleArn"}},
		{"no JSON", `name=x`, "CannotParse", "invalid character", nil},
		{"HTML", `<html>`, "CannotParse", "invalid character '<'", nil},
		{"cut off", `{"agentRuntimeName":"x`, "CannotParse", "breaks off after 22 bytes", nil},
		{"two objects", `{}{}`, "CannotParse", "something follows it at byte", nil},
		{"array", `[]`, "CannotParse", "it is an array", nil},
		{"string", `"x"`, "CannotParse", "it is a string", nil},
		{"null", `null`, "CannotParse", "it is null", nil},
		{"not UTF-8", "{\"description\":\"\xff\"}", "CannotParse", "not UTF-8", nil},
		{"UTF-16", "\xff\xfe{\x00}\x00", "CannotParse", "not UTF-8", nil},
		{"deep", strings.Repeat(`{"a":`, 200000), "CannotParse", "exceeded max depth", nil},
		{"2 MB", `{"description":"` + strings.Repeat("x", 2<<20) + `"}`, "FieldValidationFailed", "more than 1048576 bytes", nil},
		{
			"wrong types", `{"agentRuntimeName":5,"roleArn":["x"],"agentRuntimeArtifact":"x","description":{},"allowedPorts":{},"tags":[],"environmentVariables":{"A":1}}`,
			"FieldValidationFailed", "environmentVariables.A must be a string, not a number",
			[]string{"agentRuntimeName", "agentRuntimeArtifact", "roleArn", "description", "allowedPorts", "environmentVariables.A", "tags"},
		},
		{
			"wrong types within", `{` + good + `,"lifecycleConfiguration":{"maxLifetime":"60"},"allowedPorts":[5,{"port":"x"},{"port":8081.5},{"portRange":{"from":8000}}],"networkConfiguration":{"networkMode":true}}`,
			"FieldValidationFailed", "lifecycleConfiguration.maxLifetime must be a whole number, not a string",
			[]string{"networkConfiguration.networkMode", "allowedPorts[0]", "allowedPorts[1].port", "allowedPorts[2].port", "allowedPorts[3].portRange.to", "lifecycleConfiguration.maxLifetime"},
		},
		{
			"huge number", `{` + good + `,"protocolConfiguration":{"serverProtocol":"HTTP","port":1` + strings.Repeat("0", 100000) + `}}`,
			"FieldValidationFailed", "must be a whole number of 32 bits, not 1000000",
			[]string{"protocolConfiguration.port"},
		},
		{
			"zeros", `{` + good + `,"protocolConfiguration":{"serverProtocol":"HTTP","port":0},"lifecycleConfiguration":{"maxLifetime":0,"idleRuntimeSessionTimeout":0}}`,
			"FieldValidationFailed", "maxLifetime is 0 s; it must be 60 to 28800",
			[]string{"lifecycleConfiguration.idleRuntimeSessionTimeout", "lifecycleConfiguration.maxLifetime", "protocolConfiguration.port"},
		},
		{
			"empty values", `{` + good + `,"description":"","allowedPorts":[],"requestHeaderConfiguration":{"requestHeaderAllowlist":[]},"environmentVariables":{"A":""},"tags":{"a":""}}`,
			"FieldValidationFailed", "allowedPorts has no items",
			[]string{"description", "requestHeaderConfiguration.requestHeaderAllowlist", "allowedPorts"},
		},
		{
			"unions with two", `{"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"x"},"codeConfiguration":{"code":{"s3":{"bucket":"abc","prefix":"x"}},"runtime":"NODE_22","entryPoint":["a"]}},"filesystemConfigurations":[{"sessionStorage":{"mountPath":"/mnt/a"},"efsAccessPoint":{"accessPointArn":"x","mountPath":"/mnt/b"}}]}`,
			"FieldValidationFailed", "must have one of containerConfiguration, codeConfiguration; it has 2",
			[]string{"agentRuntimeArtifact", "filesystemConfigurations[0]"},
		},
		{
			"unions with unknown", `{"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"jarConfiguration":{}},"authorizerConfiguration":{},"requestHeaderConfiguration":{"denylist":[]}}`,
			"FieldValidationFailed", "agentRuntimeArtifact must be one of containerConfiguration, codeConfiguration; jarConfiguration is none",
			[]string{"agentRuntimeArtifact", "authorizerConfiguration", "requestHeaderConfiguration"},
		},
		{
			"required within", `{"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"codeConfiguration":{"code":{"s3":{}}}},"networkConfiguration":{},"protocolConfiguration":{}}`,
			"FieldValidationFailed", "entryPoint is missing",
			[]string{
				"agentRuntimeArtifact.codeConfiguration.code.s3.bucket", "agentRuntimeArtifact.codeConfiguration.code.s3.prefix",
				"agentRuntimeArtifact.codeConfiguration.runtime", "agentRuntimeArtifact.codeConfiguration.entryPoint",
				"networkConfiguration.networkMode", "protocolConfiguration.serverProtocol",
			},
		},
		{"unicode name", `{"agentRuntimeName":"Ünïcode 🚀","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"x"}}}`, "FieldValidationFailed", `"Ünïcode 🚀" is not valid`, []string{"agentRuntimeName"}},
		{"case matters", `{"AgentRuntimeName":"x"}`, "FieldValidationFailed", "agentRuntimeName is missing", []string{"agentRuntimeName", "agentRuntimeArtifact", "roleArn"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := b.do(t, http.MethodPut, "/runtimes/", strings.NewReader(test.body))
			checkJSONError(t, a)
			var e struct {
				Message, Reason string
				FieldList       []struct{ Name, Message string }
			}
			if err := json.Unmarshal(a.body, &e); err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, f := range e.FieldList {
				fields = append(fields, f.Name)
			}
			if a.status != 400 || e.Reason != test.reason || !strings.Contains(e.Message, test.message) || len(e.Message) > 4000 {
				t.Errorf("%d %s", a.status, a.body)
			}
			if diff := cmp.Diff(test.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s%s", diff, a.body)
			}
		})
	}
	// Members it does not know do no harm.
	if a := b.do(t, http.MethodPut, "/runtimes", strings.NewReader(`{`+good+`,"new":{"a":1},"networkConfiguration":{"networkMode":"PUBLIC","ipv6":true}}`)); a.status != 202 {
		t.Errorf("unknown members: %d %s", a.status, a.body)
	}
	if a := b.do(t, http.MethodPost, "/runtimes/", strings.NewReader("not read")); a.status != 200 {
		t.Errorf("a body where none is expected: %d %s", a.status, a.body)
	}
}

func checkJSONError(t *testing.T, a answer) {
	t.Helper()
	var e struct{ Message, Reason string }
	if err := json.Unmarshal(a.body, &e); err != nil || e.Message == "" || a.header.Get("Content-Type") != "application/json" ||
		a.header.Get(agentcore.HeaderRequestID) == "" || !strings.HasSuffix(a.header.Get("X-Amzn-ErrorType"), "Exception") {
		t.Errorf("no error of the API's: %d %v %q", a.status, a.header, a.body)
	}
	if (a.header.Get("X-Amzn-ErrorType") == "ValidationException") != (e.Reason != "") {
		t.Errorf("%s with reason %q", a.header.Get("X-Amzn-ErrorType"), e.Reason)
	}
}

func TestMalformedTargets(t *testing.T) {
	b := newBed(t, nil)
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	arn := url.PathEscape(b.arn)
	const notFound, validation = "404 ResourceNotFoundException", "400 ValidationException"
	for _, test := range []struct{ method, path, want string }{
		{"GET", "/runtimes/echo/", validation}, // a name is no id
		{"GET", "/runtimes/unknown-0123456789/", notFound},
		{"GET", "/runtimes/" + arn + "/", validation},
		{"GET", "/runtimes/%20/", validation},
		{"GET", "/runtimes/%F0%9F%9A%80-0123456789/", validation},
		{"GET", "/runtimes/..%2F..%2Fetc-0123456789/", validation},
		{"GET", "/runtimes/" + strings.Repeat("a", 3000) + "-0123456789", validation},
		{"GET", "/runtimes/" + id + "/?version=0", validation},
		{"GET", "/runtimes/" + id + "/?version=01", validation},
		{"GET", "/runtimes/" + id + "/?version=99999999999999999999", validation},
		{"GET", "/runtimes/" + id + "/?version=7", notFound},
		{"GET", "/runtimes/" + id + "/?version=%zz", validation},
		{"PUT", "/runtimes/unknown/", validation},
		{"POST", "/runtimes/unknown-0123456789/versions/", notFound},
		// Deletions declare no ValidationException.
		{"DELETE", "/runtimes/echo/", notFound},
		{"DELETE", "/runtimes/unknown-0123456789/", notFound},
		{"DELETE", "/runtimes/" + id + "/?version=x", notFound},
		{"DELETE", "/runtimes/" + id + "/?version=7", notFound},
		{"DELETE", "/runtimes/" + id + "/runtime-endpoints/no%20name/", notFound},
		{"DELETE", "/runtimes/unknown-0123456789/runtime-endpoints/x/", notFound},
		{"DELETE", "/runtimes/" + id + "/runtime-endpoints/DEFAULT/", "409 ConflictException"},
		// ListAgentRuntimeEndpoints declares no ResourceNotFoundException.
		{"POST", "/runtimes/unknown-0123456789/runtime-endpoints/", validation},
		{"GET", "/runtimes/" + id + "/runtime-endpoints/default/", notFound},
		{"GET", "/runtimes/" + id + "/runtime-endpoints/default", notFound},
		{"PUT", "/runtimes/" + id + "/runtime-endpoints/nope/", notFound},
		{"PUT", "/runtimes/unknown-0123456789/runtime-endpoints/nope/", notFound},

		{"GET", "/tags/x", validation},
		{"GET", "/tags/arn:aws:s3:::bucket", validation},
		{"GET", "/tags/" + strings.Replace(arn, "us-west-2", "eu-west-1", 1), notFound},
		{"GET", "/tags/" + strings.Replace(arn, "123456789012", "999999999999", 1), notFound},
		{"GET", "/tags/" + strings.Replace(arn, "runtime%2F", "memory%2F", 1), notFound},
		{"GET", "/tags/" + strings.Replace(arn, "arn:aws", "arn:aws-cn", 1), notFound},
		{"GET", "/tags/" + arn + "%2Fruntime-endpoint%2Fnope", notFound},
		{"GET", "/tags/" + arn + "%2Fruntime-endpoint%2F", validation},
		{"GET", "/tags/" + arn + "%2Fruntime-endpoint%2F%F0%9F%9A%80", validation},
		{"GET", "/tags/" + arn + "x", validation},
		{"DELETE", "/tags/" + arn, validation}, // without tagKeys
		{"DELETE", "/tags/" + arn + "?" + strings.Repeat("tagKeys=a&", 201), validation},
		{"POST", "/tags/" + arn, validation}, // without tags
		{"GET", "/resourcepolicy/" + arn, notFound},
		{"PUT", "/resourcepolicy/" + arn, validation},
		{"DELETE", "/resourcepolicy/" + arn + "%2Fruntime-endpoint%2Fnope", notFound},

		{"GET", "/runtimes/", notFound},
		{"GET", "/runtimes//", notFound},
		{"PUT", "/runtimes//", notFound},
		{"POST", "//runtimes/", notFound},
		{"POST", "/runtimes/x/../", notFound},
		{"GET", "/tags//", notFound},
		{"PATCH", "/runtimes/" + id + "/", notFound},
		{"POST", "/runtimes/" + id + "/", notFound},
		{"OPTIONS", "/tags/" + arn, notFound},
		{"PUT", "/tags/" + arn, notFound},
		{"GET", "/runtimes/" + id + "/anything/else", notFound},
		{"GET", "/runtimes/" + id + "/versions/1/", notFound},
		{"PUT", "/capacity-providers/x", validation},
		{"DELETE", "/capacity-providers/x/sessions/y", validation},
	} {
		t.Run(test.method+" "+test.path[:min(len(test.path), 80)], func(t *testing.T) {
			a := b.do(t, test.method, test.path, nil)
			checkJSONError(t, a)
			if got := fmt.Sprint(a.status, " ", a.header.Get("X-Amzn-ErrorType")); got != test.want {
				t.Errorf("%s, want %s: %s", got, test.want, a.body)
			}
		})
	}
	for _, path := range []string{"/runtimes/" + id + "/", "/runtimes/" + id + "/runtime-endpoints/DEFAULT", "/tags/" + arn} {
		if a := b.do(t, http.MethodHead, path, nil); a.status != 404 || a.header.Get("X-Amzn-ErrorType") != "ResourceNotFoundException" {
			t.Errorf("HEAD %s: %d %v", path, a.status, a.header)
		}
	}
}

// TestPathForms takes paths with and without their last slash, and ARNs in
// which slashes and colons are not escaped.
func TestPathForms(t *testing.T) {
	b := newBed(t, nil)
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	for _, test := range []struct{ method, path string }{
		{"POST", "/runtimes"},
		{"GET", "/runtimes/" + id},
		{"POST", "/runtimes/" + id + "/versions"},
		{"POST", "/runtimes/" + id + "/runtime-endpoints"},
		{"GET", "/runtimes/" + id + "/runtime-endpoints/DEFAULT"},
		{"GET", "/tags/" + url.PathEscape(b.arn)},
		{"GET", "/tags/" + url.PathEscape(b.arn+"/runtime-endpoint/DEFAULT")},
		{"GET", "/tags/" + strings.ReplaceAll(url.PathEscape(b.arn), ":", "%3A")},
		{"GET", "/tags/" + b.arn},
		{"GET", "/tags/" + b.arn + "/runtime-endpoint/DEFAULT"},
	} {
		for _, path := range []string{test.path, test.path + "/"} {
			if a := b.do(t, test.method, path, nil); a.status != 200 {
				t.Errorf("%s %s: %d %s", test.method, path, a.status, a.body)
			}
		}
	}
	if a := b.do(t, "GET", "/runtimes/"+id+"/anything/DEFAULT", nil); !bytes.Contains(a.body, []byte("no operation")) {
		t.Errorf("a resource that is none: %d %s", a.status, a.body)
	}
	// A path of the data plane that looks like an endpoint's.
	if a := b.do(t, "GET", "/runtimes/"+b.arn+"/ws", nil); !bytes.Contains(a.body, []byte("this path is for WebSocket connections")) {
		t.Errorf("/ws: %d %s", a.status, a.body)
	}
}

func TestPolicyBounds(t *testing.T) {
	b := newBed(t, nil)
	path := "/resourcepolicy/" + url.PathEscape(b.arn)
	put := func(policy string) answer {
		t.Helper()
		body, err := json.Marshal(map[string]string{"policy": policy})
		if err != nil {
			t.Fatal(err)
		}
		return b.do(t, http.MethodPut, path, bytes.NewReader(body))
	}
	for _, policy := range []string{"", "x", `"x"`, "[]", "null", `{"a":`, `{"a":"` + strings.Repeat("x", 20480) + `"}`} {
		checkInvalid(t, put(policy), "policy")
	}
	if largest := `{"a":"` + strings.Repeat("é", 20480-len(`{"a":""}`)) + `"}`; put(largest).status != 201 {
		t.Error("20480 characters were refused")
	}
}

// TestBodiesOfBadSenders wants an answer for a sender who reads only once it
// has sent everything, as Python's does, and for one who never stops. One who
// goes away holds nothing, or goleak finds its goroutine.
func TestBodiesOfBadSenders(t *testing.T) {
	b := newBed(t, nil)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	gone := dial()
	fmt.Fprint(gone, "PUT /runtimes/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	gone.Close()

	c := dial()
	const size = 8 << 20
	fmt.Fprintf(c, "PUT /runtimes/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := io.Copy(c, io.LimitReader(endless{}, size)); err != nil {
		t.Fatalf("send: %v", err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "400") {
		t.Errorf("answer %q, %v", line, err)
	}

	a := b.do(t, http.MethodPut, "/runtimes/", io.LimitReader(endless{}, 30<<20))
	if a.status != 400 || !bytes.Contains(a.body, []byte("1048576")) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
