package isolde

import (
	"fmt"
	"strings"
	"testing"
)

func TestRequestHeaders(t *testing.T) {
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("X-Tenant-%d", i)
	}
	const custom = "x-amzn-bedrock-agentcore-runtime-CUSTOM-tenant"
	for _, test := range []struct {
		names []string
		want  string // in the error; empty: valid
	}{
		{[]string{"Authorization", "X-Tenant", "x_under", custom}, ""},
		{many[:20], ""},
		{many, "has 21 items"},
		{[]string{"X-Tenant", "x-tenant"}, "[1] x-tenant is on the list twice"},
		{[]string{"X Tenant"}, "does not match"},
		{[]string{"accept-ENCODING"}, "[0] accept-ENCODING is restricted"},
		{[]string{"etag"}, "restricted"},
		{[]string{"TE"}, "restricted"},
		{[]string{"cookie"}, "restricted"},
		{[]string{"x-xss-protection"}, "restricted"},
		{[]string{"Access-Control-Request-Method"}, "restricted"},
		{[]string{"X-Forwarded-For"}, "restricted"},
		{[]string{"Sec-WebSocket-Anything"}, "restricted"},
		{[]string{"x-amz-date"}, "restricted"},
		{[]string{"X-Amzn-Trace-Id"}, "restricted"},
	} {
		err := VersionSpec{RequestHeaders: test.names}.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.names, err, test.want)
		}
		if err != nil && AsError(err).Fields[0].Name[:len("requestHeaderConfiguration.")] != "requestHeaderConfiguration." {
			t.Errorf("%q: field %q", test.names, AsError(err).Fields[0].Name)
		}
	}
}
