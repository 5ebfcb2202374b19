package server

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
)

// guard keeps web pages away from a server that trusts whoever reaches its
// loopback port: a page in the user's browser reaches it too. It refuses
// requests under a foreign host name (DNS rebinding) and unsafe requests from
// another origin (cross-site request forgery).
func guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deny(w, "requests from the web page "+r.Header.Get("Origin")+" are refused")
	}))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			deny(w, "this server answers on loopback only, not as "+r.Host)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		inner.ServeHTTP(w, r)
	})
}

func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func deny(w http.ResponseWriter, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
	w.WriteHeader(http.StatusForbidden)
	json.NewEncoder(w).Encode(map[string]string{"message": message}) //nolint:errcheck // the caller is gone then
}
