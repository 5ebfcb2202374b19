package operator

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

func TestRequestFilter(t *testing.T) {
	beside := requestFilter{id: "one", from: 100, to: 200, others: []string{"two"}}
	for _, test := range []struct {
		filter requestFilter
		at     int64
		line   string
		want   bool
	}{
		{requestFilter{}, 0, "anything", true},
		{beside, 0, `{"requestId":"one"}`, true},
		{beside, 99, "before", false},
		{beside, 100, "during", true},
		{beside, 150, `{"requestId":"two"}`, false},
		{beside, 200, "after", false},
		{requestFilter{id: "one", from: 100, to: -1}, 1 << 40, "still running", true},
		{requestFilter{id: "unknown"}, 0, "at the very beginning", false},
	} {
		if got := test.filter.match(test.at, test.line); got != test.want {
			t.Errorf("%+v: line %q at %d: %v", test.filter, test.line, test.at, got)
		}
	}
}

func TestLogsOfARequestAndSinceATime(t *testing.T) {
	b := newBed(t)
	key := b.use(t, b.deploy(t, "weather", "one").ID, "", 0, 1)[0]
	lines := ""
	for i := range 300 {
		lines += fmt.Sprintf(`{"message":"line","requestId":"request-%d"}`+"\n", i)
	}
	f, err := os.OpenFile(b.sessions.LogPath(key), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines); err != nil {
		t.Fatal(err)
	}
	b.stop(t, key) // which tells the log's index
	for _, test := range []struct {
		options LogOptions
		want    []string
	}{
		{LogOptions{Request: `"request-7"`}, []string{`{"message":"line","requestId":"request-7"}`}},
		{LogOptions{Request: "nobody"}, nil},
		{LogOptions{Since: time.Now().Add(time.Minute), Session: key.Session}, nil},
		{LogOptions{Since: time.Now().Add(-time.Minute), Session: key.Session, Request: "session ended"}, []string{"isolde: session ended: it was stopped by its caller"}},
	} {
		var got []string
		for l, err := range b.Logs(t.Context(), test.options) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, l.Line)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.options, diff)
		}
	}
	for _, bad := range []string{"since=yesterday", "since=2026-11-22T18:30:00Z&tail=3", "tail=x"} {
		_, err := getURL[LogLine](b, t, "/isolde/v1/logs?"+bad)
		wantCode(t, bad, err, isolde.CodeInvalid)
	}
}
