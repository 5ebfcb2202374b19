package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// get asks the handler, mounted as a server mounts it.
func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	h := Handler()
	mux.Handle("GET /{$}", h)
	mux.Handle("GET /console/", h)
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns what is embedded, by name.
func files(t *testing.T) map[string]string {
	t.Helper()
	entries, err := assets.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestHeaders(t *testing.T) {
	for target, contentType := range map[string]string{
		"/":                  "text/html; charset=utf-8",
		"/console/":          "text/html; charset=utf-8",
		"/console/main.js":   "text/javascript; charset=utf-8",
		"/console/style.css": "text/css; charset=utf-8",
		"/console/icon.svg":  "image/svg+xml",
	} {
		resp := get(t, http.MethodGet, target)
		if resp.StatusCode != http.StatusOK || body(t, resp) == "" {
			t.Errorf("%s answers %s", target, resp.Status)
		}
		if got := resp.Header.Get("Content-Type"); got != contentType {
			t.Errorf("%s has Content-Type %q, want %q", target, got, contentType)
		}
		wantPolicy(t, target, resp)
		etag := resp.Header.Get("ETag")
		if again := get(t, http.MethodGet, target, "If-None-Match", etag); etag == "" || again.StatusCode != http.StatusNotModified {
			t.Errorf("%s with its ETag %s answers %s, want 304", target, etag, again.Status)
		}
	}
}

func wantPolicy(t *testing.T, target string, resp *http.Response) {
	t.Helper()
	policy := strings.Split(resp.Header.Get("Content-Security-Policy"), "; ")
	for _, want := range []string{"default-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !slices.Contains(policy, want) {
			t.Errorf("%s: the policy %q lacks %s", target, policy, want)
		}
	}
	if strings.Contains(strings.Join(policy, " "), "unsafe") {
		t.Errorf("%s: the policy %q allows what is unsafe", target, policy)
	}
	if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("%s: X-Content-Type-Options is %q, want nosniff", target, got)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, target := range []string{"/console/nothing.js", "/console/assets/", "/console/assets/main.js", "/console/index.html", "/console/main.js/", "/console/%2e%2e/console.go", "/console"} {
		resp := get(t, http.MethodGet, target)
		if target == "/console" && resp.StatusCode == http.StatusTemporaryRedirect {
			continue // the mux leads to /console/
		}
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s answers %s, want 404", target, resp.Status)
		}
	}
	wantPolicy(t, "a 404", get(t, http.MethodGet, "/console/nothing.js"))
	if resp := get(t, http.MethodPost, "/console/main.js"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %s, want 405", resp.Status)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/else", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a path of others answers %d, want 404", w.Code)
	}
}

var reference = regexp.MustCompile(`(?:href=|src=|from )["']([^"']+)["']`)

// TestReferences follows the page to its parts, which must be all there, and
// all there is.
func TestReferences(t *testing.T) {
	all := files(t)
	reached := map[string]bool{"index.html": true}
	for queue := []string{"index.html"}; len(queue) > 0; queue = queue[1:] {
		for _, m := range reference.FindAllStringSubmatch(all[queue[0]], -1) {
			name := path.Base(m[1])
			if resp := get(t, http.MethodGet, m[1]); resp.StatusCode != http.StatusOK {
				t.Errorf("%s refers to %s, which answers %s", queue[0], m[1], resp.Status)
			}
			if !reached[name] {
				reached[name] = true
				queue = append(queue, name)
			}
		}
	}
	for name := range all {
		if !reached[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

// What the page's security rests on besides its policy.
var forbidden = map[string]*regexp.Regexp{
	"names another origin":   regexp.MustCompile(`(?i)[a-z]+://|["'(]//[a-z0-9]`),
	"makes HTML from text":   regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|srcdoc|createContextualFragment`),
	"makes code from text":   regexp.MustCompile(`\beval\(|new Function|setTimeout\(["'` + "`" + `]|javascript:`),
	"has an inline style":    regexp.MustCompile(`(?i)<style|<[^>]+\sstyle=`),
	"has an inline script":   regexp.MustCompile(`(?i)<script(?:\s+type="module")?\s*>`),
	"has an inline handler":  regexp.MustCompile(`(?i)<[a-z][^>]*\son[a-z]+=`),
	"keeps what agents said": regexp.MustCompile(`localStorage|sessionStorage|document\.cookie`),
}

func TestAssetsAreHarmless(t *testing.T) {
	for name, content := range files(t) {
		content = strings.ReplaceAll(content, `xmlns="http://www.w3.org/2000/svg"`, "") // a name, never fetched
		for what, re := range forbidden {
			if m := re.FindString(content); m != "" {
				t.Errorf("%s %s: %s", name, what, m)
			}
		}
	}
}

// TestForbiddenIsFound keeps the expressions above honest.
func TestForbiddenIsFound(t *testing.T) {
	for what, sample := range map[string]string{
		"names another origin":   `<script src="//cdn.example/x.js">`,
		"makes HTML from text":   `e.innerHTML = line`,
		"makes code from text":   "setTimeout('go()', 1)",
		"has an inline style":    `<p class="a" style="color:red">`,
		"has an inline script":   `<script type="module">go()</script>`,
		"has an inline handler":  `<img src=x onerror=go()>`,
		"keeps what agents said": `localStorage.setItem('a', b)`,
	} {
		if !forbidden[what].MatchString(sample) {
			t.Errorf("%q is not found in %s", what, sample)
		}
	}
}
