package isolde

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Bounds of the request headers that a version's agent is given besides the
// API's own, from AWS's documentation of requestHeaderConfiguration.
const (
	maxRequestHeaders = 20
	// MaxRequestHeaderValue bounds the value of one such header, in bytes.
	MaxRequestHeaderValue = 4 << 10
)

// customHeaderPrefix marks headers that reach the agent without being named,
// in Go's canonical form.
const customHeaderPrefix = "X-Amzn-Bedrock-Agentcore-Runtime-Custom-"

// restrictedHeaders are those that no version may name, in Go's canonical
// form, from the table in AWS's documentation (RESTRICTED_HEADERS of the
// official Python SDK): they concern the connection, the payload's form or the
// way to the server, which are not the caller's to say to the agent.
var restrictedHeaders = canonicalHeaders(`
	Proxy-Authorization WWW-Authenticate
	Accept Accept-Charset Accept-Encoding Accept-Language
	Content-Type Content-Length Content-Encoding Content-Language Content-Location Content-Range
	Cache-Control ETag Expires If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since
	Last-Modified Pragma Vary
	Connection Keep-Alive Proxy-Connection Upgrade
	Host User-Agent Referer From
	Range Accept-Ranges Transfer-Encoding TE Trailer
	Server Date Location Retry-After
	Set-Cookie Cookie
	Content-Security-Policy Content-Security-Policy-Report-Only Strict-Transport-Security
	X-Content-Type-Options X-Frame-Options X-XSS-Protection Referrer-Policy Permissions-Policy
	Cross-Origin-Embedder-Policy Cross-Origin-Opener-Policy Cross-Origin-Resource-Policy
	Access-Control-Allow-Origin Access-Control-Allow-Methods Access-Control-Allow-Headers
	Access-Control-Allow-Credentials Access-Control-Expose-Headers Access-Control-Max-Age
	Access-Control-Request-Method Access-Control-Request-Headers Origin
	Accept-CH Accept-CH-Lifetime DPR Width Viewport-Width Downlink ECT RTT Save-Data
	Clear-Site-Data Feature-Policy Expect-CT Public-Key-Pins Public-Key-Pins-Report-Only
	Via Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-IP X-Requested-With X-CSRF-Token
	True-Client-IP X-Client-IP X-Cluster-Client-IP X-Originating-IP X-Source-IP
	X-Original-URL X-Original-Host X-Rewrite-URL
	CF-Ray CF-Connecting-IP X-Cache X-Served-By
	Link`)

// restrictedPrefixes are kinds of headers that no version may name, but for
// the custom ones.
var restrictedPrefixes = []string{"Sec-Websocket-", "X-Amz-", "X-Amzn-"}

func canonicalHeaders(names string) map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		set[http.CanonicalHeaderKey(name)] = true
	}
	return set
}

func isRestrictedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return restrictedHeaders[name] || !strings.HasPrefix(name, customHeaderPrefix) &&
		slices.ContainsFunc(restrictedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// checkRequestHeaders adds what is wrong with the names of headers that are to
// reach the agent. Case makes no difference between names.
func (s VersionSpec) checkRequestHeaders(p *Problems) {
	const field = "requestHeaderConfiguration.requestHeaderAllowlist"
	checkList(p, field, s.RequestHeaders, 0, maxRequestHeaders, headerRE)
	seen := make(map[string]bool)
	for i, name := range s.RequestHeaders {
		key := http.CanonicalHeaderKey(name)
		item := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case isRestrictedHeader(name):
			p.Add(item, "%s is restricted: it cannot be passed to an agent", shorten(name))
		case seen[key]:
			p.Add(item, "%s is on the list twice; case makes no difference", shorten(name))
		}
		seen[key] = true
	}
}
