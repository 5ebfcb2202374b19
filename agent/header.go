package agent

import (
	"net/http"
	"strings"
)

const customPrefix = "X-Amzn-Bedrock-Agentcore-Runtime-Custom-"

// forwarded returns the headers that AWS's rules let through to an agent's
// code: not the restricted ones, and of AWS's own only the custom ones and the
// workload identity.
func forwarded(h http.Header) http.Header {
	out := make(http.Header)
	for name, values := range h {
		switch {
		case strings.HasPrefix(name, customPrefix), name == headerIdentity:
		case restricted[name], strings.HasPrefix(name, "X-Amz-"), strings.HasPrefix(name, "X-Amzn-"):
			continue
		}
		out[name] = values
	}
	return out
}

// restricted are AWS's restricted headers (RESTRICTED_HEADERS of the Python
// SDK), in Go's canonical form.
var restricted = canonical(`
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
	Link
	Sec-WebSocket-Key Sec-WebSocket-Accept Sec-WebSocket-Version Sec-WebSocket-Protocol Sec-WebSocket-Extensions`)

func canonical(names string) map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		set[http.CanonicalHeaderKey(name)] = true
	}
	return set
}
