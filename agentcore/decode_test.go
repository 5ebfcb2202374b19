package agentcore

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestUnknownMembersAreFound(t *testing.T) {
	unknown, err := decode([]byte(`{"roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"x","tag":"y"}},
		"agentRuntimeName":"x","networkConfiguration":{"networkMode":"PUBLIC","ipv6":true},"zzz":1,"enviromentVariables":{}}`), &createRuntimeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"agentRuntimeArtifact.containerConfiguration.tag", "networkConfiguration.ipv6", "enviromentVariables", "zzz"}
	if diff := cmp.Diff(want, unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var tags strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&tags, `,"k%d":1,"\u00e9%d":"x"`, i, i)
	}
	_, err := decode([]byte(`{"tags":{"":1`+tags.String()+`}}`), &tagRequest{})
	e := isolde.AsError(err)
	if len(e.Fields) != maxProblems || !strings.HasSuffix(e.Message, " more") || len(e.Message) > 10000 {
		t.Errorf("%d fields, message of %d bytes", len(e.Fields), len(e.Message))
	}
}

// FuzzDecode wants every body to be accepted, and given back, or refused with
// an error of the API.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"a"`, `{"agentRuntimeName":5}`, "\xff", `{"description":"\ud800"}`,
		`{"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"containerConfiguration":{"containerUri":"x"}}}`,
		`{"agentRuntimeName":"x","roleArn":"arn:aws:iam::123456789012:role/a","agentRuntimeArtifact":{"codeConfiguration":{"code":{"s3":{"bucket":"abc","prefix":"x"}},"runtime":"NODE_22","entryPoint":["a"]}},
		 "networkConfiguration":{"networkMode":"VPC","networkModeConfig":{"securityGroups":["sg-01234567"],"subnets":["subnet-01234567"]}},
		 "protocolConfiguration":{"serverProtocol":"MCP","port":8081,"path":"/x"},"lifecycleConfiguration":{"idleRuntimeSessionTimeout":60,"maxLifetime":61},
		 "allowedPorts":[{"port":8000},{"portRange":{"from":9000,"to":9001}}],"environmentVariables":{"A":""},"tags":{"a":"b"},
		 "requestHeaderConfiguration":{"requestHeaderAllowlist":["A"]},"filesystemConfigurations":[{"sessionStorage":{"mountPath":"/mnt/a"}}],
		 "authorizerConfiguration":{"customJWTAuthorizer":{"discoveryUrl":"https://a/.well-known/openid-configuration","customClaims":[{"inboundTokenClaimName":"a",
		 "inboundTokenClaimValueType":"STRING","authorizingClaimMatchValue":{"claimMatchOperator":"EQUALS","claimMatchValue":{"matchValueString":"a"}}}]}}}`,
		`{"command":"ls","timeout":3600}`, `{"command":"a\u0000b","timeout":-1}`,
		`{"name":"x","agentRuntimeVersion":"1","description":"d","policy":"{}","tags":{}}`,
		`{"allowedPorts":[null],"tags":{"a":null},"agentRuntimeArtifact":{"codeConfiguration":{"code":{}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []checker{
			&createRuntimeRequest{}, &updateRuntimeRequest{}, &createEndpointRequest{}, &updateEndpointRequest{}, &tagRequest{}, &policyDocument{}, &commandRequest{},
		} {
			_, err := decode(data, into)
			if err == nil {
				checkInverse(t, into)
				continue
			}
			w := httptest.NewRecorder()
			writeError(w, err)
			var e struct {
				Message, Reason string
				FieldList       []isolde.Field
			}
			if json.Unmarshal(w.Body.Bytes(), &e) != nil || w.Code != 400 || e.Message == "" || e.Reason == "" || !utf8.Valid(w.Body.Bytes()) {
				t.Errorf("%T: %d %s", into, w.Code, w.Body)
			}
			for _, field := range e.FieldList {
				if !strings.Contains(e.Message, field.Message) {
					t.Errorf("%T: the message lacks %+v: %s", into, field, e.Message)
				}
			}
		}
	})
}

// checkInverse wants the settings of an accepted request to be given back as
// they were said.
func checkInverse(t *testing.T, into checker) {
	t.Helper()
	in, ok := into.(*createRuntimeRequest)
	if !ok {
		return
	}
	h := &Handler{Locality: isolde.Locality{Region: "us-east-1", Account: "123456789012"}}
	said := in.settings
	back := h.settings(in.Name, isolde.Version{Spec: in.spec()})
	if again, want := back.spec(), said.spec(); !again.Equal(withDefaults(want)) {
		t.Errorf("said %+v, given back %+v", said, back)
	}
}

// withDefaults is what GetAgentRuntime shows of what was not said.
func withDefaults(s isolde.VersionSpec) isolde.VersionSpec {
	s.Lifecycle = s.Lifecycle.WithDefaults()
	if s.Protocol == "" {
		s.Protocol = isolde.ProtocolHTTP
	}
	if s.NetworkSettings == nil {
		s.NetworkSettings = &isolde.NetworkConfiguration{Mode: isolde.NetworkPublic}
	}
	return s
}
