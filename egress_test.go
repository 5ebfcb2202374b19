package isolde_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestParseDestination(t *testing.T) {
	sameAddr := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	for _, test := range []struct {
		in   string
		want isolde.Destination
		out  string // as it is written again
	}{
		{"api.openai.com", isolde.Destination{Domain: "api.openai.com"}, "api.openai.com"},
		{"API.Example.COM.:443", isolde.Destination{Domain: "api.example.com", Port: 443}, "api.example.com:443"},
		{"*.amazonaws.com", isolde.Destination{Domain: "amazonaws.com", Subdomains: true}, "*.amazonaws.com"},
		{"_dns.a-b.example", isolde.Destination{Domain: "_dns.a-b.example"}, "_dns.a-b.example"},
		{"localhost", isolde.Destination{Domain: "localhost"}, "localhost"},
		{"10.1.0.0/16", isolde.Destination{Network: netip.MustParsePrefix("10.1.0.0/16")}, "10.1.0.0/16"},
		{"10.0.0.0/8:22", isolde.Destination{Network: netip.MustParsePrefix("10.0.0.0/8"), Port: 22}, "10.0.0.0/8:22"},
		{"203.0.113.7:443", isolde.Destination{Network: netip.MustParsePrefix("203.0.113.7/32"), Port: 443}, "203.0.113.7:443"},
	} {
		got, err := isolde.ParseDestination(test.in)
		if diff := cmp.Diff(test.want, got, sameAddr); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", test.in, err, diff)
		}
		if got.String() != test.out {
			t.Errorf("%s is written as %s, want %s", test.in, got, test.out)
		}
	}
	for in, want := range map[string]string{
		"":                              "names no destination",
		"*":                             "names no destination",
		":443":                          "names no destination",
		"https://api.example.com":       "is a URL",
		"api.example.com:0":             "port",
		"api.example.com:65536":         "port",
		"api.example.com:https":         "port",
		"[2001:db8::1]:443":             "IPv6",
		"2001:db8::/32":                 "IPv6",
		"10.1.2.3/16":                   "bits beyond its prefix",
		"0.0.0.0/0":                     "wider network",
		"127.0.0.1":                     "127.0.0.0/8, which no policy opens",
		"169.254.169.254:80":            "169.254.0.0/16, which no policy opens",
		"224.0.0.0/8":                   "224.0.0.0/3, which no policy opens",
		"10.1.0.0/33":                   "not an IPv4 network",
		"api/v1":                        "not an IPv4 network",
		"1.2.3":                         "neither a name nor an IPv4 address",
		"a.*.example.com":               "elsewhere than as its first label",
		"*example.com":                  "elsewhere than as its first label",
		"a..example.com":                "not a name",
		"bücher.example":                "punycode",
		"a b.example":                   "not a name",
		strings.Repeat("a.", 130) + "x": "longer",
	} {
		_, err := isolde.ParseDestination(in)
		if isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
	}
}

func TestNetworkIsChecked(t *testing.T) {
	for _, test := range []struct {
		network isolde.Network
		want    string // of the error; empty: none
	}{
		{isolde.Network{}, ""},
		{isolde.Network{Egress: isolde.EgressList, Allow: []string{"a.example", "10.0.0.0/8"}}, ""},
		{isolde.Network{Egress: "open"}, `network.egress "open" is none of internet, none, list`},
		{isolde.Network{Egress: isolde.EgressNone, Allow: []string{"a.example"}}, `network.allow goes with egress "list" only`},
		{isolde.Network{Egress: isolde.EgressList}, "network.allow has 0 destinations; 1 to 200 are allowed"},
		{isolde.Network{Egress: isolde.EgressList, Allow: []string{"a.example", "127.0.0.1"}}, `network.allow "127.0.0.1" is in 127.0.0.0/8`},
	} {
		err := isolde.VersionSpec{Network: test.network}.Validate()
		if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v; want %q", test.network, err, test.want)
		}
	}
}
