// Package console is the web page of a server: its agents, its sessions with
// their errors, a live log, and a panel to call an agent. The page uses the
// operator API and the data plane of its own origin and nothing else.
//
// What agents print and answer is hostile: the page inserts it as text alone,
// and its Content-Security-Policy allows no inline script or style, no other
// origin, no frame around it, and (Trusted Types) no HTML made from strings.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assets embed.FS

const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are spelled out, as package mime asks the host's tables.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Handler serves the page at / and /console/, and what it is made of under
// /console/. It is to be mounted at "GET /{$}" and "GET /console/".
func Handler() http.Handler {
	mux := http.NewServeMux()
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	for _, e := range entries {
		h := asset(e.Name())
		if e.Name() == "index.html" {
			mux.HandleFunc("GET /{$}", h)
			mux.HandleFunc("GET /console/{$}", h)
			continue
		}
		mux.HandleFunc("GET /console/"+e.Name(), h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	})
}

// asset serves one file. Browsers ask each time whether it is still the same,
// so that an upgraded server never meets the page of the one before it.
func asset(name string) http.HandlerFunc {
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it was just listed
	}
	etag := fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(content))[:16])
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentTypes[path.Ext(name)])
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
}
