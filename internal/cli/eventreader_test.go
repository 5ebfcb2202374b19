package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// message is an event that owns its data.
type message struct{ Name, Data string }

func readEvents(r io.Reader) ([]message, error) {
	var got []message
	for er := newEventReader(r); ; {
		ev, err := er.next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, message{ev.name, string(ev.data)})
	}
}

func TestEventReader(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []message
	}{
		{"nothing", "", nil},
		{"two", "data: a\n\ndata: b\n\n", []message{{"", "a"}, {"", "b"}}},
		{"carriage returns", "data: a\r\rdata: b\r\n\r\n", []message{{"", "a"}, {"", "b"}}},
		{"several data lines", "data: a\ndata:b\ndata\ndata:  c\n\n", []message{{"", "a\nb\n\n c"}}},
		{"names and other fields", "id: 7\nevent: error\nretry: 1\ndata: x\n\n: comment\n\ndata: y\n\n", []message{{"error", "x"}, {"", "y"}}},
		{"a name without data is no event", "event: ping\n\ndata: x\n\n", []message{{"", "x"}}},
		{"byte order mark", "\ufeffdata: a\n\n", []message{{"", "a"}}},
		{"empty data", "data:\n\n", []message{{"", ""}}},
		{"cut off", "data: a\n\ndata: b", []message{{"", "a"}, {"", "b"}}},
		{"cut off within a name", "data: a\nda", []message{{"", "a"}}},
		{"longer than the buffer", "data: " + strings.Repeat("x", 200_000) + "\n\n", []message{{"", strings.Repeat("x", 200_000)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.stream), iotest.OneByteReader(strings.NewReader(tt.stream))} {
				got, err := readEvents(r)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// An event is returned when its blank line has come, not when more has.
func TestEventReaderDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	er := newEventReader(r)
	for _, blank := range []string{"\n", "\r", "\r\n"} {
		go func() { _, _ = io.WriteString(w, "data: now"+blank+blank) }()
		ev, err := er.next()
		if err != nil || string(ev.data) != "now" {
			t.Fatalf("after %q: %q, %v", blank, ev.data, err)
		}
	}
}

func TestEventReaderReturnsTheStreamsError(t *testing.T) {
	got, err := readEvents(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff([]message{{"", "a"}, {"", "b"}}, got); diff != "" {
		t.Error(diff)
	}
}

// slowEvents reads a whole stream by the rules of the HTML standard, in the
// plainest way.
func slowEvents(stream string) (got []message) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	name, data, has := "", []string{}, false
	dispatch := func() {
		if has {
			got = append(got, message{name, strings.Join(data, "\n")})
		}
		name, data, has = "", nil, false
	}
	for line := range strings.SplitSeq(stream, "\n") {
		if line == "" {
			dispatch()
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data, has = append(data, value), true
		case "event":
			name = value
		}
	}
	dispatch()
	return got
}

func FuzzEventReader(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "event: x\r\ndata:\r\r\n", "\ufeff\ufeffdata", ": c\ndata: 1\ndata: 2\n\n\n", "\r\n\r\ndata:x"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, split int) {
		want := slowEvents(s)
		split = min(max(split, 0), len(s))
		got, err := readEvents(io.MultiReader(strings.NewReader(s[:split]), iotest.OneByteReader(strings.NewReader(s[split:]))))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	})
}

func TestOutputPrinter(t *testing.T) {
	tests := []struct{ name, stream, want, failure string }{
		{"strings are joined", "data: \"a\"\n\ndata: \" b\\n\"\n\n", "a b\n", ""},
		{"objects have lines", "data: {\"a\": 1}\n\ndata: [1,\ndata: 2]\n\n", "{\"a\":1}\n[1,2]\n", ""},
		{"text, then an object", "data: \"a\"\n\ndata: {}\n\ndata: \"b\"\n\n", "a\n{}\nb", ""},
		{"plain text is joined", "data: one\n\ndata:  2\n\ndata: {not json\n\n", "one 2{not json", ""},
		{"escapes", `data: "<é\u00e9>"` + "\n\n", "<éé>", ""},
		{"python error", `data: {"error": "mid", "error_type": "ValueError"}` + "\n\n", `{"error":"mid","error_type":"ValueError"}` + "\n", "ValueError: mid"},
		{"error of the seed's example", `data: {"error": "boom", "type": "error"}` + "\n\n", `{"error":"boom","type":"error"}` + "\n", "boom"},
		{"typescript error", "event: error\ndata: {\"error\":\"mid\"}\n\n", `{"error":"mid"}` + "\n", "mid"},
		{"error event in text", "event: error\ndata: mid\n\n", "mid", "mid"},
		{"error event of another form", "event: error\ndata: {\"code\":1}\n\n", `{"code":1}` + "\n", `{"code":1}`},
		{"no error", `data: {"error": null, "nested": {"error": "x"}}` + "\n\n", `{"error":null,"nested":{"error":"x"}}` + "\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := &outputPrinter{w: &out}
			if err := p.stream(strings.NewReader(tt.stream)); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want || p.failure != tt.failure {
				t.Errorf("got %q, failure %q; want %q, %q", out.String(), p.failure, tt.want, tt.failure)
			}
		})
	}
}

func TestOutputPrinterDocument(t *testing.T) {
	for body, want := range map[string]string{
		"":                  "",
		`"a\nb"`:            "a\nb",
		"\"a\" \n":          "a",
		`"not`:              `"not`,
		`{"a": "b"}` + "\n": `{"a": "b"}` + "\n",
		"null":              "null",
	} {
		var out bytes.Buffer
		if err := (&outputPrinter{w: &out}).document(strings.NewReader(body)); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v; want %q", body, out.String(), err, want)
		}
	}
}
