package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
)

type upload struct {
	Prompt string
	Files  []struct {
		Name string `json:"name"`
		Data Blob   `json:"data"`
	} `json:"files"`
	Extra map[string]*Blob
	inner
}

type inner struct {
	Picture Blob `json:"picture"`
	Loose   any
}

// randomBytes are the same for the same seed.
func randomBytes(n int, seed uint64) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data) // never fails
	return data
}

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func TestBlobs(t *testing.T) {
	small, large, larger := randomBytes(1000, 1), randomBytes(spoolSmall+1, 2), randomBytes(3*spoolHeld, 3)
	payload := `{"prompt": "two \"files\"", "files": [` +
		`{"name": "large", "data": "` + strings.ReplaceAll(b64(large), "/", `\/`) + `"},` +
		`{"data": "` + b64(larger[:len(larger)/2]) + `\r\n` + b64(nil) + `"}, {"data": null}],` +
		` "PICTURE": "data:image\/png;base64,` + strings.ReplaceAll(b64(small), "A", `\u0041`) + `",` +
		` "loose": "` + b64(small) + `", "Extra": {"a": "", "b": "` + b64(larger) + `"}}`
	ctx, cancel := context.WithCancel(t.Context())
	var got upload
	if err := Decode(ctx, strings.NewReader(payload), &got); err != nil {
		t.Fatal(err)
	}
	if got.Prompt != `two "files"` || got.Loose != b64(small) || got.Picture.MediaType != "image/png" {
		t.Errorf("prompt %q, media type %q", got.Prompt, got.Picture.MediaType)
	}
	for name, c := range map[string]struct {
		got  Blob
		want []byte
	}{
		"first file":  {got.Files[0].Data, large},
		"second file": {got.Files[1].Data, larger[:len(larger)/2]},
		"null":        {got.Files[2].Data, nil},
		"picture":     {got.Picture, small},
		"empty":       {*got.Extra["a"], nil},
		"in a map":    {*got.Extra["b"], larger},
	} {
		data, err := c.got.Bytes()
		if err != nil || !bytes.Equal(data, c.want) || c.got.Size() != int64(len(c.want)) {
			t.Errorf("%s has %d bytes, want %d; %v", name, len(data), len(c.want), err)
		}
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if err := got.Files[0].Data.Save(saved); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(saved); err != nil || !bytes.Equal(data, large) {
		t.Errorf("saved %d bytes, want %d; %v", len(data), len(large), err)
	}
	cancel()
	for file := got.Files[0].Data.from.(*os.File); ; {
		if _, err := file.Stat(); errors.Is(err, os.ErrClosed) {
			break // the file went with its call
		}
	}
	decoded.Range(func(word, _ any) bool { t.Errorf("%v is left", word); return true })
}

func TestBlobErrors(t *testing.T) {
	for payload, want := range map[string]string{
		`{"picture": "####"}`:                  `Invalid request body format: picture is not base64: illegal base64 data`,
		`{"files": [{}, {"data": "YWJ"}]}`:     `Invalid request body format: files[1].data is not base64: unexpected EOF`,
		`{"picture": "data:text/plain,hello"}`: `Invalid request body format: picture is not base64: the data: URL is not in base64`,
		`{"picture": "data:"}`:                 `Invalid request body format: picture is not base64: a data: URL has a comma`,
		`{"picture": "YWJj`:                    `Invalid JSON: unexpected end of JSON input`,
		`{"prompt": "YWJj`:                     `Invalid JSON: unexpected end of JSON input`,
		`{"picture": "YWJj"`:                   `Invalid JSON: unexpected end of JSON input`,
		`{"picture": 7}`:                       `Invalid request body format: json: cannot unmarshal number into Go struct field upload.inner.picture of type string`,
		`{"picture": "YWJj"} x`:                `Invalid JSON: invalid character 'x' after top-level value`,
		strings.Repeat("[", maxDepth+1):        `Invalid JSON: it is nested too deep`,
		"{\"prompt\": \"\xff\"}":               `Invalid encoding: the payload is not UTF-8`,
		``:                                     `Invalid JSON: the payload is empty`,
		`{"picture": "` + b64(make([]byte, 99999)) + `!!!!"}`: `Invalid request body format: picture is not base64: illegal base64 data`,
	} {
		err := Decode(t.Context(), strings.NewReader(payload), new(upload))
		if err == nil || err.Error() != want {
			t.Errorf("%.40s: %v, want %s", payload, err, want)
		}
	}
	failed := errors.New("disk full")
	err := DecodeBlobs(strings.NewReader(`{"picture": "YWJj"}`), new(upload), func(string, io.Reader) error { return failed })
	if !errors.Is(err, failed) {
		t.Errorf("the callback's error became %v", err)
	}
}

func TestDecodeBlobs(t *testing.T) {
	payload := `{"files": [{"data": "YWJj"}, {"data": "` + b64(make([]byte, 1e6)) + `"}], "prompt": "hi", "extra": {"x": "YWI="}}`
	got := make(map[string]string)
	var in upload
	err := DecodeBlobs(strings.NewReader(payload), &in, func(place string, data io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(data, 3)) // the rest is skipped
		got[place] = string(text)
		return err
	})
	want := map[string]string{"files[0].data": "abc", "files[1].data": "\x00\x00\x00", "extra.x": "ab"}
	if err != nil || !reflect.DeepEqual(got, want) || in.Prompt != "hi" || len(in.Files) != 2 {
		t.Errorf("got %q and prompt %q, %v; want %q", got, in.Prompt, err, want)
	}
}

// TestForgedWord sends what stands for another call's blob.
func TestForgedWord(t *testing.T) {
	for _, word := range []string{"isolde:0", "isolde:ABCDEFGHIJKLMNOPQRSTUVWXYZ:0"} {
		var b Blob
		if err := json.Unmarshal([]byte(`"`+word+`"`), &b); err == nil {
			t.Errorf("%s is a blob of %d bytes", word, b.Size())
		}
	}
}

func TestBlobRoundTrip(t *testing.T) {
	for _, media := range []string{"", "image/png"} {
		want := NewBlob([]byte("hello"))
		want.MediaType = media
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Blob
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if data, _ := got.Bytes(); string(data) != "hello" || got.MediaType != media {
			t.Errorf("%s became %q of type %q", text, data, got.MediaType)
		}
	}
}

// FuzzDecode compares with encoding/json and []byte.
func FuzzDecode(f *testing.F) {
	f.Add(`{"a": "YWJj", "b": [{"a": "YQ=="}, {"c": {"x": "YWI=", "y": "\u0059Q=="}}], "s": "YWJj\""}`)
	f.Add(`{"A": "Y\nWJj", "a": null, "b": [[]], "s": "\\"}`)
	f.Add(`[]]{"a":"YQ=="}`)
	type with struct {
		A Blob            `json:"a"`
		B []*with         `json:"b"`
		C map[string]Blob `json:"c"`
		S string          `json:"s"`
	}
	type plain struct {
		A []byte            `json:"a"`
		B []*plain          `json:"b"`
		C map[string][]byte `json:"c"`
		S string            `json:"s"`
	}
	f.Fuzz(func(t *testing.T, payload string) {
		if strings.Contains(payload, "data:") || !json.Valid([]byte(payload)) {
			if err := Decode(t.Context(), strings.NewReader(payload), new(with)); err == nil && !strings.Contains(payload, "data:") {
				t.Errorf("%q was decoded", payload)
			}
			return
		}
		var got with
		var want plain
		wantErr := json.Unmarshal([]byte(payload), &want)
		gotErr := Decode(t.Context(), strings.NewReader(payload), &got)
		if wantErr == nil && gotErr == nil {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			if !bytes.Equal(bytes.ReplaceAll(a, []byte("null"), []byte(`""`)), bytes.ReplaceAll(b, []byte("null"), []byte(`""`))) {
				t.Errorf("%q: got %s, want %s", payload, a, b)
			}
		}
	})
}

// largePayload streams {"prompt": …, "data": "<n bytes of base64>"} without
// holding it, and tells how much of the heap was in use at most meanwhile.
type largePayload struct {
	io.Reader
	size int64
	peak uint64
}

const (
	largeHead = `{"prompt": "what is in it?", "data": "`
	largeTail = `"}`
)

func newLargePayload(size int64) *largePayload {
	body := &repeated{text: []byte(b64(randomBytes(48<<10, 4))), left: size - int64(len(largeHead)+len(largeTail))}
	body.left -= body.left % 4
	p := &largePayload{size: size}
	p.Reader = io.MultiReader(strings.NewReader(largeHead), body, strings.NewReader(largeTail))
	return p
}

type repeated struct {
	text []byte
	at   int
	left int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	r.left -= int64(n)
	return n, nil
}

func (p *largePayload) Read(b []byte) (int, error) {
	p.measure()
	return p.Reader.Read(b)
}

func (p *largePayload) measure() {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	p.peak = max(p.peak, sample[0].Value.Uint64())
}

type largeIn struct {
	Prompt string `json:"prompt"`
	Data   Blob   `json:"data"`
}

// TestLargePayloadMemory takes a payload as a Blob, as a reader and held. The
// benchmark says the same of 100 MB, for which the race detector is too slow.
func TestLargePayloadMemory(t *testing.T) {
	const size = 16e6
	for name, c := range map[string]struct {
		share float64 // of the payload
		take  func(p *largePayload, r *http.Request) error
	}{
		"into a file": {0.25, func(_ *largePayload, r *http.Request) error {
			var in largeIn
			return errors.Join(Decode(r.Context(), r.Body, &in), atLeast(in.Data.Size(), 0.74*size))
		}},
		"as a reader": {0.25, func(_ *largePayload, r *http.Request) error {
			return DecodeBlobs(r.Body, new(largeIn), func(_ string, data io.Reader) error {
				n, err := io.Copy(io.Discard, data)
				return errors.Join(err, atLeast(n, 0.74*size))
			})
		}},
		"held": {2.5, func(p *largePayload, r *http.Request) error {
			var in largeIn
			if err := Decode(r.Context(), r.Body, &in); err != nil {
				return err
			}
			data, err := in.Data.Bytes()
			p.measure()
			return errors.Join(err, atLeast(int64(len(data)), 0.74*size))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			p := newLargePayload(size)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/invocations", p)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.take(p, r); err != nil {
				t.Fatal(err)
			}
			if got := float64(p.peak) / size; got > c.share {
				t.Errorf("the heap held %.2f times the payload at most, want %.2f", got, c.share)
			} else {
				t.Logf("%.3f times the payload", got)
			}
		})
	}
}

func atLeast(n int64, want float64) error {
	if float64(n) < want {
		return errors.New("too few bytes")
	}
	return nil
}

// BenchmarkPayload decodes 100 MB of JSON with one base64 member; see
// bench/RESULTS.md of Isolde.
func BenchmarkPayload(b *testing.B) {
	const size = 100e6
	for _, c := range []struct {
		name string
		take func(p *largePayload) error
	}{
		{"blob in a file", func(p *largePayload) error {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var in largeIn
			return Decode(ctx, p, &in)
		}},
		{"blob to a reader", func(p *largePayload) error {
			return DecodeBlobs(p, new(largeIn), func(_ string, data io.Reader) error {
				_, err := io.Copy(io.Discard, data)
				return err
			})
		}},
		{"blob held", func(p *largePayload) error {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var in largeIn
			if err := Decode(ctx, p, &in); err != nil {
				return err
			}
			_, err := in.Data.Bytes()
			p.measure()
			return err
		}},
		{"encoding json and bytes", func(p *largePayload) error {
			var in struct {
				Prompt string
				Data   []byte
			}
			err := json.NewDecoder(p).Decode(&in)
			p.measure()
			return err
		}},
		{"encoding json and base64", func(p *largePayload) error {
			text, err := io.ReadAll(p)
			if err != nil {
				return err
			}
			var in struct{ Prompt, Data string }
			if err := json.Unmarshal(text, &in); err != nil {
				return err
			}
			_, err = base64.StdEncoding.DecodeString(in.Data)
			p.measure()
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			var peak uint64
			for b.Loop() {
				p := newLargePayload(size)
				if err := c.take(p); err != nil {
					b.Fatal(err)
				}
				peak = max(peak, p.peak)
			}
			b.ReportMetric(float64(peak)/size, "peak/payload")
		})
	}
}
