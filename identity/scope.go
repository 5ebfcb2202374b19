package identity

import (
	"net/http"
	"strings"
)

// SignedFor returns the name of the AWS service that a request was signed for,
// such as "s3", "sts" or "bedrock-agentcore": the last but one part of the
// credential scope of Signature Version 4 or 4A, in the Authorization header or in
// the query of a presigned URL. The older Version 2 is taken for S3's, the one
// service that clients still use it with. Empty if the request is not signed,
// or not in a known way. Signatures are not verified.
//
// It runs before every request and allocates nothing.
func SignedFor(r *http.Request) string {
	if values := r.Header["Authorization"]; len(values) > 0 {
		if service := signedHeader(values[0]); service != "" {
			return service
		}
	}
	if r.URL.RawQuery != "" {
		return signedQuery(r.URL.RawQuery)
	}
	return ""
}

const (
	terminator   = "aws4_request"
	maxServiceID = 32 // bytes; AWS's longest are shorter
)

// signedHeader reads "AWS4-… Credential=KEY/DATE/REGION/SERVICE/aws4_request, …"
// and, without the region, that of Version 4A.
func signedHeader(value string) string {
	if strings.HasPrefix(value, "AWS ") && strings.Contains(value, ":") {
		return "s3" // Version 2: "AWS KEY:SIGNATURE"
	}
	if !strings.HasPrefix(value, "AWS4-") {
		return ""
	}
	_, scope, ok := strings.Cut(value, "Credential=")
	if !ok {
		return ""
	}
	if end := strings.IndexByte(scope, ','); end >= 0 {
		scope = scope[:end]
	}
	return lastService(scope, "/")
}

// signedQuery finds the parameter X-Amz-Credential, whose slashes may be escaped.
func signedQuery(query string) string {
	v2 := 0
	for query != "" {
		var parameter string
		parameter, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(parameter, "=")
		switch name {
		case "X-Amz-Credential":
			if service := lastService(value, "%2F"); service != "" {
				return service
			}
			if service := lastService(value, "%2f"); service != "" {
				return service
			}
			return lastService(value, "/")
		case "AWSAccessKeyId", "Signature", "Expires":
			v2++
		}
	}
	if v2 == 3 {
		return "s3"
	}
	return ""
}

// lastService is the part before the terminator, if it can be a service's name.
func lastService(scope, slash string) string {
	scope, ok := strings.CutSuffix(scope, terminator)
	if !ok {
		return ""
	}
	if scope, ok = strings.CutSuffix(scope, slash); !ok {
		return ""
	}
	at := strings.LastIndex(scope, slash)
	if at < 0 {
		return ""
	}
	service := scope[at+len(slash):]
	if len(service) == 0 || len(service) > maxServiceID {
		return ""
	}
	for i := range len(service) {
		if c := service[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ""
		}
	}
	return service
}
